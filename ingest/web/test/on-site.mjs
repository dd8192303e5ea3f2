// Opens the page that a gateway serves by itself, and uses it as somebody in the greenhouse would.
//
//   BASE_URL=http://127.0.0.1:8080 PIN=482913 npm run test:on-site
//
// SHOTS=folder saves pictures; CHROMIUM names the browser. Every check is run; the exit code tells
// whether all of them held.
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const { BASE_URL, PIN, SHOTS, CHROMIUM = '/usr/bin/chromium' } = process.env;
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const ZONE = '#zones article:nth-of-type(1)';

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

const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: FLAGS });
const context = await browser.newContext({ viewport: { width: 360, height: 800 }, hasTouch: true, isMobile: true, locale: 'vi-VN', timezoneId: 'Europe/Berlin' });
const page = await context.newPage();
page.setDefaultTimeout(30_000);
const complaints = [];
page.on('pageerror', (error) => complaints.push(error.message));
let bytes = 0;
page.on('response', async (response) => {
  if (/\/(page\.(js|css))?$/.test(new URL(response.url()).pathname)) bytes += (await response.body()).length;
});
const shot = (name) => (SHOTS ? page.screenshot({ path: join(SHOTS, `${name}.png`) }) : null);

await check('nothing is shown without the PIN', async () => {
  const answer = await page.request.get(`${BASE_URL}/now`);
  expect(answer.status() === 401, `answered ${answer.status()}`);
  const act = await page.request.post(`${BASE_URL}/do`, { data: { what: 'hold', seconds: 60 }, headers: { 'x-furrow': '1' } });
  expect(act.status() === 401, `did ${act.status()}`);
  await page.goto(BASE_URL);
  await page.waitForSelector('#pin', { state: 'visible' });
  expect(await page.isHidden('#page'), 'the page is open');
});
await check('a wrong PIN is told', async () => {
  await page.fill('#pin', '0000');
  await page.click('#pinform button');
  await page.waitForFunction(() => document.querySelector('#pinerror').textContent === 'Mã PIN sai.');
});
await check('the right PIN shows zones and values', async () => {
  await page.fill('#pin', PIN);
  await page.click('#pinform button');
  await page.waitForSelector(ZONE);
  await page.waitForFunction(() => /°C/.test(document.querySelector('#values').textContent));
  const text = await page.textContent('#page');
  expect(text.includes('Không có mạng'), 'does not say that it is offline');
  expect(/giây trước/.test(text), 'no age of a value');
  await shot('on-site-zones');
});
await check('a zone is run and stopped', async () => {
  await page.click(`${ZONE} .row button`);
  await page.waitForSelector(`${ZONE}.open`);
  await shot('on-site-watering');
  await page.click(`${ZONE} .danger`);
  await page.waitForSelector(`${ZONE}:not(.open)`);
  await page.waitForFunction(() => /Tưới xong: được dừng/.test(document.querySelector('#events').textContent));
});
await check('everything is stopped, and let go on', async () => {
  await page.click('#stopall');
  await page.waitForFunction(() => /Đang dừng tất cả/.test(document.querySelector('#site').textContent));
  expect(await page.isDisabled(`${ZONE} .row button`), 'a zone can still be run');
  await shot('on-site-stopped');
  await page.click('#stopall');
  await page.waitForFunction(() => !/Đang dừng tất cả/.test(document.querySelector('#site').textContent));
});
await check('it says why', async () => {
  await page.waitForFunction(() => /Quy tắc kho/.test(document.querySelector('#events').textContent), undefined, { timeout: 60_000 });
});
await check('it speaks English', async () => {
  await page.click('#lang');
  await page.waitForFunction(() => document.querySelector('#stopall').textContent === 'STOP ALL WATERING');
  await shot('on-site-english');
});
await check('it fits a phone and is light', async () => {
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  expect(width <= 360, `it is ${width} px wide`);
  expect(bytes > 5_000 && bytes <= 30 * 1024, `its files have ${bytes} bytes`);
  expect(complaints.length === 0, complaints.join('; '));
});
await browser.close();
console.log(`${bytes} bytes`);
process.exit(failures === 0 ? 0 : 1);
