"use strict";
// What ran, and the three questions: how small, how well it comes back, how easily it is learned.

(() => {
  const { el, data } = report;

  report.views.overview = (main) => {
    const tabs = data.sections.map((section, i) => [String(i), `${section.dataset} · ${section.modality}`]);
    const many = new Set(data.sections.map((s) => s.suite)).size > 1;
    if (many) data.sections.forEach((s, i) => { tabs[i][1] = `${s.suite} · ${tabs[i][1]}`; });
    const place = el("div");
    const show = (at) => section(place, Number(at));
    const start = Math.min(Number(report.get("data", "0")) || 0, data.sections.length - 1);
    main.append(
      el("h1", {}, headline()), facts(),
      tabs.length > 1 ? chips("Data set", tabs, String(start), (at) => { report.set({ data: at }); show(at); }) : "",
      place, what());
    show(start);
  };

  function headline() {
    const names = [...new Set(data.runs.map((run) => run.suite))];
    const shown = names.slice(0, 3).join(", ");
    return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
  }

  function facts() {
    const cells = {};
    for (const run of data.runs) for (const [status, n] of Object.entries(run.cells)) cells[status] = (cells[status] || 0) + n;
    const all = Object.values(cells).reduce((a, b) => a + b, 0);
    const seconds = data.runs.reduce((sum, run) => sum + run.seconds, 0);
    const ended = data.runs.map((run) => run.ended).sort().pop() || "";
    const tile = (number, text, extra = {}) => el("div", { class: "tile", ...extra }, el("b", {}, number), el("span", {}, text));
    const failed = cells.failed || 0;
    return el("div", { class: "tiles" },
      tile(String(data.lines.length), data.lines.length === 1 ? "tokenizer" : "tokenizers on their data"),
      tile(String(data.sections.length), data.sections.length === 1 ? "data set" : "data sets"),
      tile(`${cells.finished || 0} of ${all}`, "cells finished"),
      failed ? el("a", { class: "tile bad", href: report.address("failures") }, el("b", {}, String(failed)),
        el("span", {}, failed === 1 ? "cell failed" : "cells failed")) : null,
      tile(report.duration(seconds), "of computing"),
      ended ? tile(ended.slice(0, 10), `${data.live ? "last record" : "ended"} ${ended.slice(11, 16)} UTC`) : null);
  }

  function chips(label, choices, chosen, change) {
    const buttons = choices.map(([value, text]) => el("button", { type: "button", "aria-pressed": String(value === chosen),
      onclick: (event) => {
        for (const other of buttons) other.setAttribute("aria-pressed", String(other === event.currentTarget));
        change(value);
      } }, text));
    return el("div", { class: "chips", role: "group", "aria-label": label }, buttons);
  }
  report.chips = chips;

  function section(place, at) {
    const one = data.sections[at];
    const lines = one.lines.map((id) => report.lines.get(id));
    const cards = one.answers.map((answer) => el("article", { class: "card" },
      el("h3", {}, answer.question), el("p", { class: "big" }, answer.headline), el("p", {}, answer.text)));
    const picture = el("div"), slice = el("div");
    place.replaceChildren(
      one.reason ? el("p", { class: "warn" }, one.reason) : "", el("div", { class: "cards" }, cards), picture, slice,
      best(one, lines),
      el("details", { class: "notes" }, el("summary", {}, "How these numbers came about"),
        one.files ? el("p", {}, `Data: ${one.files}.`) : "", el("ul", {}, one.notes.map((note) => el("li", {}, note)))));
    draw(picture, slice, one, lines);
  }

  function draw(picture, slice, one, lines) {
    const x = one.rate || "bits_per_sample", y = one.distortion, z = one.outcome;
    const points = lines.filter((l) => y && report.value(l, x) !== null && report.value(l, y) !== null);
    if (!points.length) {
      picture.replaceChildren(el("p", { class: "quiet" }, "No line has both a rate and a distortion yet: there is nothing to draw."));
      return;
    }
    const rates = [...new Set(points.map((l) => report.value(l, x)))].sort((a, b) => a - b);
    let band = null;
    const coloured = z && points.some((l) => report.value(l, z) !== null);
    const traces = () => {
      const result = report.scatter(points, x, y, { labels: points.length <= 12 && window.innerWidth > 700, legend: !coloured });
      const front = points.filter((l) => l.front).sort((a, b) => report.value(a, x) - report.value(b, x));
      if (coloured) {
        const of = (line) => report.value(line, z);
        const known = points.map(of).filter((v) => v !== null);
        for (const trace of result) {
          const members = trace.customdata.map((id) => report.lines.get(id));
          trace.hovertemplate = members.map((l) => report.hover(l, [x, y, z]));
          trace.error_x.color = trace.error_y.color = report.style("--soft");
          Object.assign(trace.marker, { color: members.map((l) => of(l)), colorscale: "Viridis",
            reversescale: report.columns.get(z).direction === "lower", cmin: Math.min(...known), cmax: Math.max(...known),
            showscale: trace === result[0], size: trace.marker.size.map((s) => s + 5), line: { ...trace.marker.line, color: report.style("--soft") },
            colorbar: { title: { text: report.inert(report.heading(z)), side: "right", font: { size: 12 } }, thickness: 12, outlinewidth: 0 } });
        }
      }
      if (front.length > 1) result.unshift({ type: "scatter", mode: "lines", x: front.map((l) => report.value(l, x)),
        y: front.map((l) => report.value(l, y)), line: { color: report.style("--soft"), dash: "dot", width: 1.5 },
        hoverinfo: "skip", name: "Pareto front", showlegend: false });
      return result;
    };
    const table = [["tokenizer", report.heading(x), report.heading(y), ...(z ? [report.heading(z)] : []), "front"],
      points.map((l) => [report.link(l), report.text(l, x), report.text(l, y), ...(z ? [report.text(l, z)] : []), l.front ? "●" : ""])];
    const colour = coloured ? ` Colour: ${report.title(z)}, ${report.columns.get(z).direction} is better${one.incomparable[z] ? ` (no winner, since ${one.incomparable[z]})` : ""}.` : "";
    const chart = report.chart(picture, {
      caption: `${report.title(y)} over ${report.title(x)}; bars are 95 % intervals, the dotted line is the Pareto front.${colour} A click opens a tokenizer.`,
      draw: () => ({ traces: traces(), layout: {
        xaxis: { title: report.heading(x), type: report.scale(rates) }, yaxis: { title: report.heading(y) },
        shapes: band ? [{ type: "rect", xref: "x", yref: "paper", x0: band[0], x1: band[1], y0: 0, y1: 1,
          fillcolor: report.style("--accent"), opacity: 0.12, line: { width: 0 } }] : [] } }),
      table, height: 420,
      click: (point) => { if (point.customdata) location.hash = report.address("tokenizer", point.customdata); },
    });
    if (rates.length > 1) isoRate(slice, { x, y, z, rates, points, paint: (next) => { band = next; chart.paint(); } });
  }

  /** The lines of about one rate, so that distortion and modelability are compared at equal size. */
  function isoRate(slice, { x, y, z, rates, points, paint }) {
    const rows = el("div");
    const change = (place) => {
      const low = rates[place] / 1.25, high = rates[place] * 1.25;
      const inside = points.filter((l) => report.value(l, x) >= low && report.value(l, x) <= high);
      rows.replaceChildren(report.table(`Lines at about ${report.number(rates[place], 3)} ${report.title(x)}`,
        ["tokenizer", report.heading(x), report.heading(y), ...(z ? [report.heading(z)] : [])],
        inside.map((l) => [report.link(l), report.text(l, x), report.text(l, y), ...(z ? [report.text(l, z)] : [])])));
      paint([low, high]);
      return `${report.number(rates[place], 3)} (± 25 %)`;
    };
    slice.replaceChildren(el("section", { class: "slice" }, el("h2", {}, "At equal rate"),
      report.range(report.title(x), { min: 0, max: rates.length - 1, value: Math.floor((rates.length - 1) / 2) }, change, "rate"), rows));
  }

  function best(one, lines) {
    const measured = data.columns.filter((c) => c.shown && lines.some((l) => report.cell(l, c.name)));
    const roles = ["distortion", "distribution", "generation", "modelability"];
    const leading = [one.rate, one.distortion, one.outcome, ...measured.filter((c) => roles.includes(c.role)).map((c) => c.name), "parameters"];
    const names = [...new Set(leading)].filter((name) => measured.some((c) => c.name === name)).slice(0, 6);
    const rows = lines.slice(0, 12).map((l) => [report.link(l), l.rank === null ? "–" : String(l.rank), ...names.map((name) => {
      const entry = report.cell(l, name);
      return entry && entry[5] ? el("b", {}, report.text(l, name)) : report.text(l, name);
    })]);
    const more = lines.length > rows.length ? el("p", {}, el("a", { href: report.address("explorer") }, `All ${lines.length} lines`)) : "";
    return el("section", {}, el("h2", {}, "Leaderboard"),
      report.table(`Ranked by ${one.distortion ? report.title(one.distortion) : "nothing"}; bold: the best, and what does not differ from it.`,
        ["tokenizer", "rank", ...names.map(report.heading)], rows), more);
  }

  function what() {
    const rows = data.runs.map((run) => [run.suite, Object.keys(run.datasets).join(", "),
      Object.entries(run.cells).map(([status, n]) => `${n} ${status}`).join(", "), report.duration(run.seconds),
      `${run.began.slice(0, 16).replace("T", " ")} to ${run.ended.slice(0, 16).replace("T", " ")}`,
      run.devices.join(", "), run.hosts.join(", "), run.source]);
    return el("section", {}, el("h2", {}, "What ran"),
      report.table("The runs on this page", ["suite", "data sets", "cells", "computing", "from and to (UTC)", "device", "host", "folder"], rows, { class: "wrapped" }),
      el("p", { class: "quiet small" }, [...new Set(data.runs.flatMap((run) => run.versions))].join(" · ")));
  }
})();
