"use strict";
// While a run goes on and a server shows it: what is done, what is training, what the devices do.

(() => {
  const { el, data } = report;
  if (!data.live) return;
  const place = el("aside", { class: "live", "aria-label": "progress of the run" });
  let revision = null, stopped = 0;

  async function ask() {
    try {
      const answer = await fetch("progress.json", { cache: "no-store" });
      show(await answer.json());
      stopped = 0;
    } catch {
      stopped += 1;
      if (stopped > 2) place.replaceChildren(el("p", { class: "quiet" }, "The server has stopped; this page stays as it is."));
    }
    setTimeout(ask, stopped > 2 ? 15000 : 2000);
  }

  function show(now) {
    if (revision !== null && now.revision !== revision) {
      const busy = [...document.querySelectorAll("audio")].some((player) => !player.paused);
      if (!busy) { location.reload(); return; }
    } else revision = now.revision;
    const jobs = now.training.map((job) => el("li", {}, el("b", {}, job.title), ` step ${report.number(job.step)}${job.of ? ` of ${job.of}` : ""}, loss ${report.number(job.loss, 4)}${job.rate ? `, ${report.number(job.rate, 3)} samples/s` : ""} `, spark(job.losses)));
    place.replaceChildren(
      el("div", { class: "bar" }, el("progress", { max: now.jobs, value: now.recorded, "aria-label": "jobs ended" }), el("span", {}, `${now.finished} of ${now.cells} cells, ${now.recorded} of ${now.jobs} jobs${now.failed ? `, ${now.failed} failed` : ""}${now.active ? "" : "; no run is working on it"}`)),
      el("p", { class: "quiet small" }, now.devices.map((d) => `${d.name}: ${Math.round(100 * d.use)} %${d.memory ? `, ${d.memory} MiB` : ""}`).join(" · ")), el("ul", {}, jobs));
  }

  function spark(losses) {
    const known = losses.filter((v) => v !== null);
    if (known.length < 2) return "";
    const low = Math.min(...known), span = Math.max(...known) - low || 1;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", `M${known.map((v, i) => `${((100 * i) / (known.length - 1)).toFixed(1)},${(22 - (20 * (v - low)) / span).toFixed(1)}`).join("L")}`);
    svg.setAttribute("viewBox", "0 0 100 24");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `loss from ${report.number(known[0], 3)} to ${report.number(known[known.length - 1], 3)}`);
    svg.classList.add("spark");
    svg.append(path);
    return svg;
  }

  report.live = (main) => main.before(place);
  ask();
})();
