// Makes elements, and writes numbers and times. Anybody may have written what is in Redis: all of it becomes text,
// and none of it HTML.

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);
export const number = (value) => value.toLocaleString("en");
export const plural = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;
export const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) + (text.endsWith(".") ? "" : ".") : "");
export const failure = (status, result) => String(status || (result || "").replaceAll("_", " ") || "-");

// Returns what makes a lane known to a reader: the endpoint; and the source, where there are several.
export const several = (status) => status.sources.length > 1;
export const title = (lane, status) => (several(status) ? `${lane.endpoint}, from ${lane.source}` : lane.endpoint);

// Gives a choice the names that it does not have yet.
export function offer(choice, names) {
  const there = new Set(Array.from(choice.options, (option) => option.value));
  choice.append(...[...new Set(names)].filter((name) => !there.has(name)).map((name) => element("option", name)));
}

export function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export function shape(name, attributes = {}, text = "") {
  const made = document.createElementNS(SVG, name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Only what has changed, so that a screen reader says it once, and a selection of text stays.
export function write(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

const two = (value) => String(value).padStart(2, "0");

// One format everywhere: 14:05, and 23 Nov 14:05 for another day than today, by the clock of the reader.
export function clock(date) {
  const time = `${two(date.getHours())}:${two(date.getMinutes())}`;
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? time : `${date.getDate()} ${MONTHS[date.getMonth()]} ${time}`;
}

export function time(iso) {
  if (!iso) return element("span", "-");
  return element("time", clock(new Date(iso)), { datetime: iso, title: iso });
}

export function duration(seconds) {
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export function zone() {
  const minutes = -new Date().getTimezoneOffset();
  const sign = minutes < 0 ? "-" : "+";
  return minutes ? `UTC${sign}${two(Math.trunc(Math.abs(minutes) / 60))}:${two(Math.abs(minutes) % 60)}` : "UTC";
}
