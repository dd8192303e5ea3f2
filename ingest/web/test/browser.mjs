// Opens the page in a real browser and uses it as a technician would.
//
//   npm run build && npm run test:browser              against the made-up API
//   BASE_URL=http://127.0.0.1:8080 TOKEN=… npm run test:browser   against a running ingest
//
// SHOT=path.png saves a picture of the greenhouse page; CHROMIUM names the browser; GREENHOUSE an
// id to open instead of the first card; VALUE_TIMEOUT_MS how long the first good value may take.
// Every check is run; the exit code tells whether all of them held.
import { chromium } from 'playwright-core';
import { preview } from 'vite';

const { BASE_URL, TOKEN = 'demo', SHOT, GREENHOUSE, CHROMIUM = '/usr/bin/chromium', VALUE_TIMEOUT_MS = '90000' } = process.env;
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const PHONE = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true, locale: 'vi-VN', timezoneId: 'Europe/Berlin' };
const VIETNAMESE_NUMBER = /^-?\d{1,3}(\.\d{3})*(,\d+)?$/;
const ENGLISH_NUMBER = /^-?\d{1,3}(,\d{3})*(\.\d+)?$/;

let failures = 0;
async function check(name, work) {
  try {
    await work();
    console.log(`ok      ${name}`);
  } catch (error) {
    failures += 1;
    console.log(`FAILED  ${name}: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`);
  }
}
function expect(condition, message) {
  if (!condition) throw new Error(message);
}
async function eventually(what, probe, timeoutMs = 10_000) {
  const end = Date.now() + timeoutMs;
  let seen;
  while (Date.now() < end) {
    seen = await probe();
    if (seen.done) return seen.value;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error(`${what}; last seen: ${JSON.stringify(seen?.value)}`);
}

const server = BASE_URL ? null : await preview({ preview: { port: 0, host: '127.0.0.1' } });
const base = (BASE_URL ?? server.resolvedUrls.local[0]).replace(/\/$/, '');
const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: FLAGS });
const context = await browser.newContext(PHONE);
const page = await context.newPage();
page.setDefaultTimeout(15_000);

const complaints = [];
page.on('pageerror', (error) => complaints.push(`error in the page: ${error.message}`));
page.on('console', (message) => {
  // The browser reports every 401 and 503 itself, also those that belong to the test.
  if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) complaints.push(message.text());
});
page.on('request', (request) => {
  if (new URL(request.url()).origin !== new URL(base).origin) complaints.push(`request to elsewhere: ${request.url()}`);
});

const chart = page.getByTestId('chart');
const number = async (locator, name) => Number(await locator.getAttribute(name));
const noSidewaysScroll = async () => {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  expect(content <= window, `content is ${content} px wide, window ${window} px`);
};

async function mockSwitch(change) {
  await page.evaluate((body) => fetch('/api/mock', { method: 'POST', body: JSON.stringify(body) }), change);
}

await check('the login page is Vietnamese', async () => {
  await page.goto(`${base}/`);
  await page.getByRole('heading', { name: 'Đăng nhập' }).waitFor();
  expect((await page.getAttribute('html', 'lang')) === 'vi', 'html lang is not vi');
  await noSidewaysScroll();
});

await check('a wrong token is refused in words', async () => {
  await page.getByTestId('token').fill('wrong-token');
  await page.getByTestId('login').click();
  await page.getByText('Mã này không đúng').waitFor();
});

await check('the token opens the list of greenhouses', async () => {
  await page.getByTestId('token').fill(TOKEN);
  await page.getByTestId('login').click();
  await page.getByTestId('greenhouse').first().waitFor();
  expect((await page.getByTestId('gateway').count()) > 0, 'no gateway state on the cards');
  await noSidewaysScroll();
});

await check('the login lasts over a reload', async () => {
  await page.reload();
  await page.getByTestId('greenhouse').first().waitFor();
});

await check('a greenhouse opens with a good value', async () => {
  const card = GREENHOUSE ? page.locator(`[data-testid=greenhouse][data-id="${GREENHOUSE}"]`) : page.getByTestId('greenhouse').first();
  await card.click();
  await page.locator('[data-testid=value][data-state=good]').first().waitFor({ timeout: Number(VALUE_TIMEOUT_MS) });
});

await check('a value has a Vietnamese number and an age that counts', async () => {
  const tile = page.locator('[data-testid=value][data-state=good]:not([data-channel=zones_open])').first();
  const shown = ((await tile.getByTestId('number').locator('.digits').textContent()) ?? '').trim();
  expect(VIETNAMESE_NUMBER.test(shown), `"${shown}" is not a Vietnamese number`);
  const first = await tile.getByTestId('age').innerText();
  expect(/vừa xong|giây trước|phút trước/.test(first), `"${first}" is not an age`);
  await eventually(`the age stays at "${first}"`, async () => {
    const value = await tile.getByTestId('age').innerText();
    return { done: value !== first, value };
  });
});

await check('the live stream is open', async () => {
  await page.locator('[data-testid=live][data-state=open]').waitFor();
});

await check('the chart has points and something drawn', async () => {
  await chart.locator('canvas').waitFor();
  await eventually('the chart has no points', async () => {
    const value = await number(chart, 'data-points');
    return { done: value > 0, value };
  }, Number(VALUE_TIMEOUT_MS));
  await eventually('no line is on the canvas', async () => {
    const value = await chart.locator('canvas').evaluate((canvas) => {
      const style = getComputedStyle(canvas);
      const colours = [1, 2, 3, 4].map((n) => style.getPropertyValue(`--series-${n}`).trim());
      const wanted = new Set(colours.map((c) => parseInt(c.slice(1), 16)));
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      let found = 0;
      for (let i = 0; i < data.length; i += 4) {
        if (data[i + 3] === 255 && wanted.has((data[i] << 16) | (data[i + 1] << 8) | data[i + 2])) found += 1;
      }
      return found;
    });
    return { done: value > 0, value };
  });
});

await check('zooming in shows a shorter stretch, and the reset button brings the present back', async () => {
  const span = async () => (await number(chart, 'data-to')) - (await number(chart, 'data-from'));
  const before = await span();
  await page.getByTestId('zoom-in').click();
  await eventually('the view is as long as before', async () => ({ done: (await span()) < before * 0.6, value: await span() }));
  await page.getByTestId('reset').click();
  await eventually('the view stays short', async () => ({ done: (await span()) > before * 0.9, value: await span() }));
});

await check('nothing is wider than the phone', noSidewaysScroll);

if (SHOT) {
  await page.waitForTimeout(1_000);
  await page.screenshot({ path: SHOT, fullPage: true });
  console.log(`picture ${SHOT}`);
}

await check('every control has a name', async () => {
  const nameless = await page.evaluate(() =>
    [...document.querySelectorAll('button, a, input, select')]
      .filter((e) => !(e.textContent ?? '').trim() && !e.getAttribute('aria-label') && !(e.id && document.querySelector(`label[for="${e.id}"]`)))
      .map((e) => e.outerHTML.slice(0, 80)),
  );
  expect(nameless.length === 0, nameless.join(', '));
});

await check('English is a switch that is remembered', async () => {
  await page.getByTestId('language-en').click();
  await page.getByRole('heading', { name: 'Chart', exact: true }).waitFor();
  await page.reload();
  await page.getByRole('heading', { name: 'Chart', exact: true }).waitFor();
  const tile = page.locator('[data-testid=value][data-state=good]:not([data-channel=zones_open])').first();
  const shown = ((await tile.getByTestId('number').locator('.digits').textContent()) ?? '').trim();
  expect(ENGLISH_NUMBER.test(shown), `"${shown}" is not an English number`);
  expect((await page.getAttribute('html', 'lang')) === 'en', 'html lang is not en');
  await page.getByTestId('language-vi').click();
  await page.getByRole('heading', { name: 'Biểu đồ' }).waitFor();
});

if (server) {
  await check('failed and silent sensors show no number, only when they last had one', async () => {
    for (const [channel, reason] of [['co2', 'Không đọc được cảm biến'], ['tank_level', 'Không có số đo mới']]) {
      const tile = page.locator(`[data-testid=value][data-channel=${channel}]`);
      expect((await tile.getAttribute('data-state')) === 'none', `${channel} is shown as a value`);
      expect((await tile.getByTestId('number').count()) === 0, `${channel} shows a number`);
      expect((await tile.innerText()).includes(reason), `${channel} does not say why`);
      expect(/Lần cuối đo được: .* lúc .*\(.* trước\)/.test(await tile.getByTestId('last-good').innerText()), `${channel} hides its last value`);
    }
  });

  await check('water is asked for with two taps, a stop with one, and the answer is said', async () => {
    const zone = page.locator('[data-testid^=water-]').first();
    await zone.getByTestId('open').click();
    await zone.getByRole('button', { name: '20 phút', exact: true }).click();
    await zone.getByTestId('confirm').click();
    await zone.getByText('Trạm đã nhận: tưới 20 phút.').waitFor();
    await zone.getByTestId('stop').click();
    await zone.getByText('Trạm từ chối: no run of this zone').waitFor();
    await noSidewaysScroll();
  });

  await check('two fingers zoom the chart and one finger moves it', async () => {
    const box = await chart.locator('.u-over').boundingBox();
    const cdp = await context.newCDPSession(page);
    await chart.scrollIntoViewIfNeeded();
    const { y } = await chart.locator('.u-over').boundingBox();
    const touch = (type, ...xs) => cdp.send('Input.dispatchTouchEvent', { type, touchPoints: xs.map((x, id) => ({ x: box.x + x, y: y + 60, id })) });
    const [from, to] = [await number(chart, 'data-from'), await number(chart, 'data-to')];
    await touch('touchStart', 100, 160);
    for (let i = 1; i <= 6; i += 1) await touch('touchMove', 100 - i * 8, 160 + i * 8);
    await touch('touchEnd');
    const zoomed = await eventually('the pinch changed nothing', async () => {
      const value = (await number(chart, 'data-to')) - (await number(chart, 'data-from'));
      return { done: value < (to - from) * 0.7, value };
    });
    const right = await number(chart, 'data-to');
    await touch('touchStart', 60);
    for (let i = 1; i <= 6; i += 1) await touch('touchMove', 60 + i * 15);
    await touch('touchEnd');
    await eventually('the swipe changed nothing', async () => {
      const value = await number(chart, 'data-to');
      return { done: value < right - zoomed * 0.1, value };
    });
    await page.getByTestId('reset').click();
  });

  await check('a month has coarser points than six hours', async () => {
    await page.getByTestId('range-30d').click();
    const bucket = async (done) => eventually('the resolution stays', async () => {
      const value = await number(chart, 'data-bucket');
      return { done: done(value), value };
    });
    const month = await bucket((b) => b >= 3_600_000);
    await page.getByTestId('range-6h').click();
    await bucket((b) => b < month);
  });

  await check('live readings extend the chart', async () => {
    for (let i = 0; i < 3; i += 1) await page.getByTestId('zoom-in').click();
    await eventually('single readings are not shown', async () => {
      const value = await number(chart, 'data-bucket');
      return { done: value === 0, value };
    });
    const before = await eventually('the chart stays empty', async () => {
      const value = await number(chart, 'data-last');
      return { done: value > 0, value };
    });
    await eventually('no point was added', async () => {
      const value = await number(chart, 'data-last');
      return { done: value > before, value };
    }, 25_000);
  });

  await check('a tap shows the values at a moment, without moving the page', async () => {
    const top = async () => (await chart.boundingBox()).y;
    const before = await top();
    const box = await chart.locator('.u-over').boundingBox();
    await page.touchscreen.tap(box.x + box.width / 2, box.y + 40);
    await page.locator('.readout b.at').first().waitFor();
    expect((await top()) === before, 'the chart jumped');
  });

  await check('a phone that goes offline says so at once', async () => {
    await context.setOffline(true);
    await page.getByText('Điện thoại không có mạng').waitFor({ timeout: 5_000 });
    await context.setOffline(false);
    await page.getByTestId('live-banner').waitFor({ state: 'detached', timeout: 40_000 });
  });

  await check('a lost connection is said in a banner, with values growing old', async () => {
    await mockSwitch({ live: false });
    await page.getByTestId('live-banner').waitFor();
    await page.locator('[data-testid=live][data-state=lost]').waitFor();
    await eventually('values stay fresh without a connection', async () => {
      const value = await page.locator('[data-testid=value][data-state=good]').count();
      return { done: value === 0, value };
    }, 60_000);
    if (SHOT) await page.screenshot({ path: SHOT.replace(/(\.png)?$/, '-lost.png'), fullPage: true });
    await mockSwitch({ live: true });
    await page.getByTestId('live-banner').waitFor({ state: 'detached', timeout: 40_000 });
    await page.locator('[data-testid=value][data-state=good]').first().waitFor();
  });

  await check('a server error is said in words and can be retried', async () => {
    await mockSwitch({ broken: true });
    await page.reload();
    await page.getByText('Máy chủ báo lỗi (503)').waitFor();
    await mockSwitch({ broken: false });
    await page.getByRole('button', { name: 'Thử lại' }).click();
    await page.getByTestId('value').first().waitFor();
  });
}

await check('logging out leads back to the login', async () => {
  await page.getByRole('button', { name: 'Đăng xuất' }).click();
  await page.getByTestId('token').waitFor();
  await page.reload();
  await page.getByTestId('token').waitFor();
});

await check('no errors in the page and no requests elsewhere', async () => {
  expect(complaints.length === 0, complaints.join('; '));
});

await browser.close();
await server?.close();
console.log(failures === 0 ? 'all held' : `${failures} failed`);
process.exit(failures === 0 ? 0 : 1);
