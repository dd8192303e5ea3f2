'use strict';
// The page on the gateway: asks every two seconds, shows, and sends what people want.
const EVERY_MS = 2000;
const TEXTS = {
  vi: {
    pin: 'Mã PIN', enter: 'Vào', wrong: 'Mã PIN sai.', wait: (s) => `Sai nhiều lần. Chờ ${Math.ceil(s / 60)} phút rồi thử lại.`,
    stale: 'Mất kết nối với bộ điều khiển. Số liệu dưới đây đã cũ.', zones: 'Khu tưới', values: 'Số liệu', why: 'Vì sao tưới, vì sao không',
    stop: 'DỪNG TƯỚI TẤT CẢ', go: 'Cho tưới lại', silence: 'TẮT CÒI 30 PHÚT', sound: { sounding: 'đang hú', silenced: 'đã tắt tiếng', quiet: '' }, held: (m) => `Đang dừng tất cả, còn ${m} phút.`, zoneHeld: (m) => `Tạm không tưới tự động, còn ${m} phút.`,
    phase: { clearing: 'đang kiểm tra', idle: 'đã đóng', checking: 'đang kiểm tra van', watering: 'ĐANG TƯỚI', closing: 'đang đóng', locked_out: 'KHÓA' },
    left: (s) => `còn ${clock(s)}`, used: (a, b) => `Hôm nay ${a} / ${b} phút`, litres: (l) => `${l} lít`, next: (t) => `Lần tới ${t}`, waiting: 'đang chờ bơm',
    water: 'Tưới:', run: (m) => `${m} phút`, halt: 'Dừng', reset: 'Đã kiểm tra, mở khóa', forbids: 'Không được tưới: ', link: { up: 'Có mạng', down: 'Không có mạng: vẫn tưới và lưu số liệu' },
    age: (s) => `${s} giây trước`, ageMin: (m) => `${m} phút trước`, none: 'chưa có', nothing: 'Chưa có gì.',
    quality: { suspect: 'nghi ngờ', failed: 'lỗi cảm biến', stale: 'cũ', out_of_range: 'ngoài dải', stuck: 'bị kẹt', spike: 'nhảy vọt' },
    cause: { schedule: 'theo lịch', manual: 'tưới tay', rule: 'theo quy tắc', command: 'lệnh từ xa' },
    end: { completed: 'xong', stopped: 'được dừng', fault: 'van hoặc bộ điều khiển hỏng', interrupted: 'bị ngắt khi khởi động lại', lease_lost: 'mất liên lạc với van', budget: 'hết lượng nước trong ngày', interlock: 'khóa an toàn' },
    verdict: { water: 'cần tưới', 'safe-dose': 'tưới liều an toàn', enough: 'đủ ẩm', 'outside-window': 'ngoài giờ tưới', 'clock-unknown': 'chưa biết giờ', 'input-unknown': 'không tin được cảm biến, chờ' },
    ev: { start: (w, m) => `Bắt đầu tưới (${w}), ${m} phút`, done: (w, m, l) => `Tưới xong: ${w}. ${m} phút, ${l}`, lock: 'Khóa: ', alarm: 'Cảnh báo: ', learnt: (l) => `Đã học lưu lượng: ${l} lít/giờ`, held: 'Dừng tất cả', released: 'Cho tưới lại', reset: 'Đã mở khóa', raised: 'Báo động: ', silenced: 'Đã tắt còi: ', over: 'Hết báo động: ', rule: 'Quy tắc', no: 'Không tưới: ' },
    lock: { no_flow: 'van mở mà không có nước', burst: 'nước chảy quá nhiều: vỡ ống', leak: 'van đóng mà nước vẫn chảy: rò rỉ', tank_low: 'bồn gần cạn', tank_empty: 'bồn cạn', tank_unknown: 'không biết mực nước bồn', pressure_low: 'áp suất nước thấp', supply: 'bơm hoặc van tổng không chạy', litres: 'hết lượng nước trong ngày' },
  },
  en: {
    pin: 'PIN', enter: 'Enter', wrong: 'This PIN is wrong.', wait: (s) => `Wrong too often. Wait ${Math.ceil(s / 60)} min and try again.`,
    stale: 'The controller can’t be reached. What you see is old.', zones: 'Zones', values: 'Values', why: 'Why it watered, or did not',
    stop: 'STOP ALL WATERING', go: 'Let it water again', silence: 'SILENCE THE SIREN FOR 30 MIN', sound: { sounding: 'sounds', silenced: 'silenced', quiet: '' }, held: (m) => `All watering is stopped for ${m} min more.`, zoneHeld: (m) => `Not watered by rule for ${m} min more.`,
    phase: { clearing: 'being checked', idle: 'closed', checking: 'checking the valve', watering: 'WATERING', closing: 'closing', locked_out: 'LOCKED' },
    left: (s) => `${clock(s)} left`, used: (a, b) => `Today ${a} / ${b} min`, litres: (l) => `${l} L`, next: (t) => `Next ${t}`, waiting: 'waits for the pump',
    water: 'Water:', run: (m) => `${m} min`, halt: 'Stop', reset: 'Looked at it, unlock', forbids: 'No watering: ', link: { up: 'Online', down: 'Offline: it waters and keeps all values' },
    age: (s) => `${s} s ago`, ageMin: (m) => `${m} min ago`, none: 'none yet', nothing: 'Nothing yet.',
    quality: { suspect: 'suspect', failed: 'sensor fails', stale: 'stale', out_of_range: 'out of range', stuck: 'stuck', spike: 'spike' },
    cause: { schedule: 'schedule', manual: 'by hand', rule: 'rule', command: 'from afar' },
    end: { completed: 'as planned', stopped: 'stopped', fault: 'valve or controller faulty', interrupted: 'interrupted by a restart', lease_lost: 'valve lost', budget: 'the day’s water is used up', interlock: 'interlock' },
    verdict: { water: 'wants water', 'safe-dose': 'gives its safe dose', enough: 'has enough', 'outside-window': 'not at this time', 'clock-unknown': 'time unknown', 'input-unknown': 'can’t trust its sensor, waits' },
    ev: { start: (w, m) => `Watering begins (${w}), ${m} min`, done: (w, m, l) => `Watering ended: ${w}. ${m} min, ${l}`, lock: 'Locked: ', alarm: 'Alarm: ', learnt: (l) => `Learnt its flow: ${l} L/h`, held: 'All stopped', released: 'May water again', reset: 'Unlocked', raised: 'Alarm: ', silenced: 'Silenced: ', over: 'Alarm is over: ', rule: 'Rule', no: 'Not watered: ' },
    lock: {},
  },
};
const CHANNELS = {
  air_temperature: 'Nhiệt độ không khí', relative_humidity: 'Độ ẩm không khí', co2: 'CO₂', global_radiation: 'Bức xạ mặt trời', soil_moisture_index: 'Độ ẩm giá thể', soil_moisture: 'Độ ẩm đất', tank_level: 'Mực nước bồn', water_volume: 'Lượng nước', water_flow: 'Lưu lượng', zones_open: 'Van mở', outputs_open: 'Van mở', temperature: 'Nhiệt độ', air_pressure: 'Áp suất không khí', illuminance: 'Độ rọi', vpd: 'Thiếu hụt hơi nước (VPD)', dew_point: 'Điểm sương', et0: 'Bốc thoát hơi (ET0)', ph: 'pH', electrical_conductivity: 'EC', rain: 'Mưa', float_switch: 'Phao', door_open: 'Cửa mở', mains_present: 'Có điện lưới', button: 'Nút bấm', voltage: 'Điện áp', current: 'Dòng điện', dli: 'Ánh sáng trong ngày', radiation_sum: 'Tổng bức xạ', dew_point_margin: 'Cách điểm sương', absolute_humidity: 'Độ ẩm tuyệt đối',
};
const UNITS = { 1: '', '[ppm]': 'ppm', '[pH]': '', Cel: '°C', '%RH': '%', 'umol/m2/s': 'µmol/m²s', 'W/m2': 'W/m²', 'mol/m2': 'mol/m²', 'MJ/m2': 'MJ/m²', 'g/m3': 'g/m³', 'uS/cm': 'µS/cm' };
const $ = (id) => document.getElementById(id);
let lang = localStorage.getItem('lang') === 'en' ? 'en' : 'vi';
let T = TEXTS[lang];
let last = null;
let offset = null;
let zone;

function clock(s) { return `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, '0')}`; }
function el(tag, text, cls) { const e = document.createElement(tag); if (text !== undefined) e.textContent = text; if (cls) e.className = cls; return e; }
function texts() {
  T = TEXTS[lang];
  document.documentElement.lang = lang;
  for (const e of document.querySelectorAll('[data-t]')) e.textContent = T[e.dataset.t];
  $('lang').textContent = lang === 'vi' ? 'English' : 'Tiếng Việt';
  $('lang').lang = lang === 'vi' ? 'en' : 'vi';
  if (last) show(last);
}
function only(id) { $('login').hidden = id !== 'login'; $('page').hidden = id !== 'page'; }

async function send(what) {
  $('notice').textContent = '';
  try {
    const r = await fetch('do', { method: 'POST', headers: { 'content-type': 'application/json', 'x-furrow': '1' }, body: JSON.stringify(what) });
    if (r.status === 401) return only('login');
    if (r.status === 409) $('notice').textContent = (await r.json()).error;
  } catch { $('stale').hidden = false; }
  await look();
}
function button(text, what, cls) { const b = el('button', text, cls); b.type = 'button'; b.onclick = () => { b.disabled = true; send(what); }; return b; }

function zoneCard(z, held) {
  const card = el('article', undefined, 'card');
  const bad = z.lock || z.phase === 'locked_out';
  if (bad) card.classList.add('bad'); else if (z.phase === 'watering') card.classList.add('open');
  const h = el('h3', z.name);
  const phase = T.phase[z.phase] || z.phase;
  h.append(el('span', z.left_ms != null && z.phase === 'watering' ? `${phase}, ${T.left(z.left_ms / 1000)}` : z.is_waiting ? T.waiting : phase));
  card.append(h);
  const used = [T.used(Math.round(z.used_today_ms / 60000), Math.round(z.daily_limit_ms / 60000))];
  if (z.used_today_ml) used.push(T.litres(Math.round(z.used_today_ml / 1000)));
  if (z.next_start) used.push(T.next(new Date(z.next_start).toLocaleTimeString(lang, { timeZone: zone, hour: '2-digit', minute: '2-digit' })));
  card.append(el('p', used.join(' · ')));
  if (z.lock) card.append(el('p', T.lock[z.lock] || z.lock_text, 'error'));
  if (z.held_ms) card.append(el('p', T.zoneHeld(Math.ceil(z.held_ms / 60000))));
  const row = el('div', undefined, 'row');
  if (z.phase === 'watering' || z.phase === 'checking' || z.is_waiting) row.append(button(T.halt, { what: 'stop', zone: z.id }, 'danger'));
  else {
    row.append(el('span', T.water));
    for (const m of [2, 5, 10]) {
      const b = button(T.run(m), { what: 'water', zone: z.id, seconds: m * 60 });
      b.disabled = held;
      row.append(b);
    }
  }
  card.append(row);
  return card;
}
function why(e) {
  const minutes = (ms) => Math.round(ms / 6000) / 10;
  switch (e.kind) {
    case 'run_started': return T.ev.start(e.rule || T.cause[e.cause] || e.cause, minutes(e.planned_ms));
    case 'run_ended': return T.ev.done(e.text || T.end[e.end] || e.end, minutes(e.open_ms), e.millilitres == null ? '? L' : T.litres(Math.round(e.millilitres / 100) / 10));
    case 'decision': {
      if (e.rule.startsWith('(')) return T.ev.no + e.refusal;
      const value = e.value == null ? '' : ` (${Math.round(e.value * 100) / 100})`;
      return `${T.ev.rule} ${e.rule}: ${T.verdict[e.verdict] || e.verdict}${value}${e.refusal ? '. ' + T.ev.no + e.refusal : ''}`;
    }
    case 'lockout': return T.ev.lock + e.text;
    case 'alarm': return T.ev.alarm + e.text;
    case 'flow_learnt': return T.ev.learnt(Math.round(e.millilitres_per_hour / 1000));
    case 'held': return e.hold_ms == null ? T.ev.released : T.ev.held;
    case 'reset': return T.ev.reset;
    case 'alarm_raised': return T.ev.raised + e.text;
    case 'alarm_silenced': return T.ev.silenced + e.alarm;
    case 'alarm_resolved': return T.ev.over + e.alarm;
    default: return null;
  }
}
function show({ report, samples, events }) {
  $('house').textContent = report.greenhouse_name || report.greenhouse;
  offset = report.wall_unix_ms == null ? null : report.wall_unix_ms - report.mono_ms;
  zone = report.time_zone || undefined;
  const s = report.irrigation || {};
  const stop = $('stopall');
  stop.textContent = s.held_ms ? T.go : T.stop;
  stop.className = s.held_ms ? 'big' : 'big danger';
  stop.onclick = () => send(s.held_ms ? { what: 'release' } : { what: 'hold', seconds: 1800 });
  const site = [el('p', T.link[report.link])];
  for (const a of report.alarms.raised) {
    const where = report.zones.find((z) => z.id === a.zone);
    const words = [lang === 'vi' ? a.name : a.name_en, where && where.name, T.sound[a.sound]].filter(Boolean).join(' · ');
    site.push(el('p', words, 'error'));
  }
  if (report.alarms.sounds) site.push(button(T.silence, { what: 'silence', seconds: 1800 }, 'big danger'));
  if (s.held_ms) site.push(el('p', T.held(Math.ceil(s.held_ms / 60000)), 'error'));
  if (s.forbids) site.push(el('p', T.forbids + (T.lock[s.forbids] || s.forbids_text), 'error'));
  if (s.lock) site.push(el('p', T.lock[s.lock] || s.lock_text, 'error'));
  if (s.lock || report.zones.some((z) => z.lock)) site.push(button(T.reset, { what: 'reset' }));
  $('site').replaceChildren(...site);
  $('zones').replaceChildren(...report.zones.map((z) => zoneCard(z, s.held_ms != null)));
  $('values').tBodies[0].replaceChildren(...samples.map((c) => {
    const row = el('tr');
    const good = c.quality === 'good';
    if (!good) row.className = 'bad';
    const name = el('td', lang === 'vi' ? CHANNELS[c.channel] || c.channel : c.channel.replaceAll('_', ' '));
    name.append(el('small', c.device));
    const value = el('td', c.value == null ? '–' : `${c.value.toFixed(c.decimals)} ${UNITS[c.unit] ?? c.unit}`);
    const age = c.age_ms == null ? T.none : c.age_ms < 120000 ? T.age(Math.round(c.age_ms / 1000)) : T.ageMin(Math.round(c.age_ms / 60000));
    value.append(el('small', good || c.quality == null ? age : `${T.quality[c.quality] || c.quality}, ${age}`));
    row.append(name, value);
    return row;
  }));
  const told = [...events].reverse().map((e) => [e, why(e)]).filter(([, text]) => text);
  $('events').replaceChildren(...(told.length ? told.map(([e, text]) => {
    const item = el('li');
    const where = report.zones.find((z) => z.id === e.zone);
    const at = offset == null ? `+${Math.round(e.at_mono_ms / 1000)} s` : new Date(e.at_mono_ms + offset).toLocaleString(lang, { timeZone: zone, day: 'numeric', month: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit' });
    item.append(el('time', where ? `${at} · ${where.name}` : at), text);
    return item;
  }) : [el('li', T.nothing)]));
}
async function look() {
  try {
    const r = await fetch('now');
    if (r.status === 401) return only('login');
    if (!r.ok) throw new Error(r.status);
    last = await r.json();
    $('stale').hidden = true;
    only('page');
    show(last);
  } catch { $('stale').hidden = false; }
}
$('lang').onclick = () => { lang = lang === 'vi' ? 'en' : 'vi'; localStorage.setItem('lang', lang); texts(); };
$('pinform').onsubmit = async (event) => {
  event.preventDefault();
  try {
    const r = await fetch('login', { method: 'POST', headers: { 'content-type': 'application/json', 'x-furrow': '1' }, body: JSON.stringify({ pin: $('pin').value }) });
    $('pin').value = '';
    if (r.ok) { $('pinerror').textContent = ''; return look(); }
    $('pinerror').textContent = r.status === 429 ? T.wait((await r.json()).seconds) : T.wrong;
  } catch { $('pinerror').textContent = T.stale; }
};
texts();
look();
setInterval(() => { if (!document.hidden && !$('page').hidden) look(); }, EVERY_MS);
