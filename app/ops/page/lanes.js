// Shows one card for each endpoint. A card stays while its text changes, so that what is unfolded stays so.

import { act, explain } from "/ask.js";
import { byId, clock, element, failure, number, sentence, title, write } from "/make.js";

const STATES = {
  down: "down", failing: "failing", held: "paused", delivering: "delivering",
  retrying: "retrying", idle: "idle", unknown: "unknown",
};
const cards = new Map();

function facts(lane) {
  const last = lane.last_attempt_at ? `${failure(lane.last_status, lane.last_result)} at ${clock(new Date(lane.last_attempt_at))}` : "none yet";
  const shown = {
    pending: number(lane.pending),
    "in processing": number(lane.processing),
    "in flight": `${number(lane.in_flight)}, ${number(lane.prefetched)} of them prefetched`,
    "to be tried again": number(lane.retry + lane.retrying),
    "next try": lane.retry && lane.next_due ? clock(new Date(lane.next_due)) : "-",
    "last result": last,
    "delivered in the last hour": number(lane.delivered_last_hour),
    "failed attempts in the last hour": number(lane.failed_last_hour),
  };
  if (lane.url) shown.address = lane.url;
  return shown;
}

function figure(name) {
  const made = element("div", "", { class: "figure" });
  made.append(element("strong", "", { "data-figure": name }), element("span", name));
  return made;
}

function make(name, endpoint) {
  const card = element("article", "", { class: "card" });
  const heading = element("h3", name);
  heading.append(element("span", "", { class: "state" }));
  const figures = element("div", "", { class: "figures" });
  figures.append(figure("waiting"), figure("delivered today"), figure("dead"));
  const tried = element("p", "", { class: "tried", role: "status" });
  const button = element("button", "Try now", { type: "button", class: "main", "aria-label": `Try ${endpoint} now` });
  button.addEventListener("click", () => probe(endpoint, button, tried));
  const details = element("details");
  details.append(element("summary", "Details"), element("dl"));
  card.append(heading, element("p", "", { class: "words" }), figures, button, tried, details);
  return card;
}

async function probe(name, button, tried) {
  button.disabled = true;
  tried.textContent = "Trying…";
  try {
    tried.textContent = sentence((await act(`/api/endpoints/${encodeURIComponent(name)}/probe`, {})).words);
  } catch (error) {
    tried.textContent = sentence(explain(error));
  }
  button.disabled = false;
}

function update(card, lane, actions) {
  card.dataset.level = lane.level;
  card.dataset.state = lane.state;
  write(card.querySelector(".state"), STATES[lane.state] || lane.state);
  write(card.querySelector(".words"), sentence(lane.words));
  const values = { waiting: lane.waiting, "delivered today": lane.delivered_today, dead: lane.dead };
  for (const [name, value] of Object.entries(values)) {
    const figure = card.querySelector(`[data-figure="${name}"]`);
    write(figure, number(value));
    figure.dataset.any = String(value > 0);
  }
  card.querySelector("button").hidden = !(actions && lane.can_probe);
  const list = card.querySelector("dl");
  const shown = Object.entries(facts(lane));
  while (list.children.length < shown.length) {
    const pair = element("div");
    pair.append(element("dt"), element("dd"));
    list.append(pair);
  }
  while (list.children.length > shown.length) list.lastChild.remove();
  shown.forEach(([name, value], index) => {
    write(list.children[index].firstChild, name);
    write(list.children[index].lastChild, value);
  });
}

export function showLanes(status) {
  for (const lane of status.lanes) {
    const name = title(lane, status);
    if (!cards.has(name)) {
      cards.set(name, make(name, lane.endpoint));
      byId("lanes").append(cards.get(name));
    }
    update(cards.get(name), lane, status.actions);
  }
}
