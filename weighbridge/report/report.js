"use strict";
// The forecast models: the same formulas that made the numbers on this page.
const MODELS = {
/*FORMULAS*/
};

// What a change of the controls does to one forecast's inputs. Kept free of the page, so that it can be tested.
function changed(inputs, point, w) {
  const x = Object.assign({}, inputs);
  if ("reserve" in x && w.reserve !== null) x.reserve = w.reserve;
  if ("calls_per_user_hour" in x) x.calls_per_user_hour = x.calls_per_user_hour * w.calls / w.batch;
  if ("peak_factor" in x && w.peak !== null) x.peak_factor = Math.max(1, x.peak_factor * w.peak);
  if ("background" in x) x.background = x.background * w.background;
  if ("background_per_s" in x) x.background_per_s = x.background_per_s * w.background;
  if ("day_factor" in x && w.monthEnd) x.day_factor = point.monthEnd;
  if ("think_s" in x) x.think_s = x.think_s * w.batch / (w.calls * (w.peak === null ? 1 : w.peak));
  return x;
}

function weigh(forecast, point, w) {
  const model = MODELS[forecast.model];
  if (!model || forecast.users === null) return { users: forecast.users, low: forecast.low, high: forecast.high, at_least: forecast.at_least };
  const before = model(forecast.inputs), after = model(changed(forecast.inputs, point, w));
  if (!Number.isFinite(before) || !Number.isFinite(after) || before <= 0)
    return { users: forecast.users, low: forecast.low, high: forecast.high, at_least: forecast.at_least };
  // The interval widens and narrows with the number: the same relative uncertainty.
  const ratio = Math.max(0, after) / before;
  const scale = (v) => (v === null ? null : v * ratio);
  return { users: scale(forecast.users), low: scale(forecast.low), high: scale(forecast.high), at_least: scale(forecast.at_least) };
}

// The first point to break: the lowest known number; a point whose data fail breaks at any number of users.
function weakest(data, w) {
  let found = null;
  for (const point of data.points) {
    for (const forecast of point.forecasts) {
      const r = weigh(forecast, point, w);
      if (r.users !== null && (found === null || r.users < found.users)) found = Object.assign({ point: point.id, limit: forecast.limit }, r);
    }
  }
  return found;
}

if (typeof document !== "undefined") {
  const data = JSON.parse(document.getElementById("what-if-data").textContent);
  const $ = (id) => document.getElementById(id);
  // Halves go to the even number, as in the rest of the page.
  const whole = (n) => (n - Math.floor(n) === 0.5 ? 2 * Math.round(n / 2) : Math.round(n));
  const show = (n) => whole(n).toLocaleString("en-US");
  const users = (n) => `${show(n)} ${Math.round(n) === 1 ? "user" : "users"}`;
  const interval = (r) => (r.low === null || r.high === null || show(r.low) === show(r.high) ? "" : ` [${show(r.low)}, ${show(r.high)}]`);

  const openTo = () => {
    const goal = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!goal) return;
    for (let e = goal; e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true;
    goal.scrollIntoView();
  };
  addEventListener("hashchange", openTo);
  openTo();

  // Paper has no triangles to press: print what is folded.
  let folded = [];
  addEventListener("beforeprint", () => { folded = [...document.querySelectorAll("details:not([open])")]; for (const d of folded) d.open = true; });
  addEventListener("afterprint", () => { for (const d of folded) d.open = false; folded = []; });

  for (const time of document.querySelectorAll("time[data-age]")) {
    const days = (Date.now() - Date.parse(time.dateTime)) / 864e5;
    if (!(days >= 0)) continue;
    const many = (n, unit) => `${n} ${unit}${n === 1 ? "" : "s"} old`;
    const age = days < 1 / 24 ? "less than an hour old" : days < 2 ? many(Math.round(days * 24), "hour") : many(Math.round(days), "day");
    time.after(Object.assign(document.createElement("small"), { textContent: days > 30 ? `${age}: weigh again` : age }));
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest(".copy");
    if (!button) return;
    const text = button.parentElement.querySelector("code").textContent;
    const done = () => { button.textContent = "copied"; setTimeout(() => { button.textContent = "copy"; }, 1500); };
    if (navigator.clipboard && window.isSecureContext) navigator.clipboard.writeText(text).then(done, () => {});
    else {
      const range = document.createRange();
      range.selectNodeContents(button.parentElement.querySelector("code"));
      getSelection().removeAllRanges(); getSelection().addRange(range);
      if (document.execCommand("copy")) done();
    }
  });
  for (const b of document.querySelectorAll(".copy")) b.hidden = false;

  const form = $("what-if");
  if (form) {
    form.closest("section").hidden = false;
    const shown = (w) => {
      $("o-users").textContent = show(w.users);
      $("o-batch").textContent = w.batch === 1 ? "one by one" : `${w.batch} records a call`;
      $("o-calls").textContent = `x ${w.calls}`;
      $("o-reserve").textContent = `${Math.round(w.reserve * 100)} %`;
      $("o-peak").textContent = `x ${w.peak}`;
      $("o-background").textContent = `${Math.round(w.background * 100)} %`;
    };
    const BATCHES = [1, 2, 5, 10, 20, 50, 100, 200];
    const read = () => ({
      users: +form.elements.users.value, batch: BATCHES[+form.elements.batch.value], calls: +form.elements.calls.value,
      reserve: +form.elements.reserve.value / 100, peak: +form.elements.peak.value, background: +form.elements.background.value / 100,
      monthEnd: form.elements.month_end.checked,
    });
    const table = $("what-if-rows");
    const update = () => {
      const w = read();
      shown(w);
      const moved = form.dataset.reserveMoved === "1";
      const inForce = Object.assign({}, w, { reserve: moved ? w.reserve : null });
      const first = weakest(data, inForce);
      const broken = data.points.filter((p) => p.data).map((p) => p.id);
      const answer = $("what-if-answer");
      if (!first) {
        answer.className = "answer UNKNOWN";
        answer.textContent = "No limit is known as a number yet, so nothing can be moved here.";
      } else {
        const low = first.low === null ? first.users : first.low;
        const status = first.high !== null && first.high < w.users ? "BREAKS" : low >= w.users * data.headroom ? "READY" : "AT_RISK";
        answer.className = `answer ${status}`;
        const words = { BREAKS: `would break before ${show(w.users)} users`, AT_RISK: `comes too near to ${show(w.users)} users`, READY: `is the first limit, and clears ${show(w.users)} users with headroom` };
        answer.textContent = `${first.point} ${words[status]}: ${first.limit.replaceAll("_", " ")} is reached at about ${users(first.users)}${interval(first)}.` +
          (broken.length ? ` Data that fail today (${broken.slice(0, 3).join(", ")}${broken.length > 3 ? ", ..." : ""}) fail at any number of users.` : "");
      }
      const rows = [];
      for (const point of data.points) for (const forecast of point.forecasts) {
        const r = weigh(forecast, point, inForce);
        if (r.users !== null) rows.push([point.id, forecast.limit.replaceAll("_", " "), forecast.users, r]);
      }
      rows.sort((a, b) => a[3].users - b[3].users);
      table.replaceChildren(...rows.slice(0, 8).map(([id, limit, before, r]) => {
        const tr = document.createElement("tr");
        const cells = [id, limit, show(before), show(r.users) + interval(r)];
        cells.forEach((text, i) => { const td = document.createElement("td"); td.textContent = text; if (i > 1) td.className = "n"; tr.append(td); });
        return tr;
      }));
    };
    form.addEventListener("input", (event) => { if (event.target.name === "reserve") form.dataset.reserveMoved = "1"; update(); });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => { form.dataset.reserveMoved = ""; setTimeout(update); });
    update();
  }
} else if (typeof module !== "undefined") {
  module.exports = { MODELS, changed, weigh, weakest };
}
