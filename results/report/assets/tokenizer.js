"use strict";
// A tokenizer's page: what comes back, how it was trained, each metric by sample, latents, cost, provenance.

(() => {
  const { el, data } = report;

  report.views.tokenizer = (main, of) => {
    const line = report.lines.get(of) || data.lines[0];
    if (!line) {
      main.append(el("p", { class: "quiet" }, "There is no line to show."));
      return;
    }
    const section = data.sections[line.section];
    const options = data.lines.map((l) => [l.id, data.sections.length > 1 ? `${data.sections[l.section].dataset}: ${l.name}` : l.name]);
    const at = section.lines.indexOf(line.id), near = (step) => section.lines[at + step];
    const step = (id, text) => (id ? el("a", { class: "button", href: report.address("tokenizer", id) }, text) : null);
    main.append(
      el("div", { class: "tools" }, report.select("Tokenizer", options, line.id, (id) => { location.hash = report.address("tokenizer", id); }, "tokenizer"),
        step(near(-1), "Previous"), step(near(1), "Next"),
        el("button", { type: "button", "aria-pressed": String(report.selection().includes(line.id)), onclick: (event) => {
          report.toggle(line.id);
          event.currentTarget.setAttribute("aria-pressed", String(report.selection().includes(line.id)));
        } }, "Select")),
      el("h1", {}, line.name), el("p", { class: "quiet" }, subtitle(line, section)));
    const place = el("div", {}, el("p", { class: "quiet", role: "status" }, "Loading …"));
    main.append(place);
    report.detail(line.id).then((detail) => { if (place.isConnected) fill(place, line, section, detail); },
      (error) => { place.replaceChildren(el("p", { class: "warn" }, `${error.message}: copy the whole folder of the report.`)); });
  };

  function subtitle(line, section) {
    const facts = [section.title, `recipe ${line.recipe}`, line.discrete ? "discrete" : "continuous", line.prior ? `prior ${line.prior}` : "",
      ...Object.entries(line.axes).map(([axis, value]) => `${axis} ${value}`), `${line.seeds[0]} of ${line.seeds[1]} seeds finished`];
    return facts.filter(Boolean).join(" · ");
  }

  function fill(place, line, section, detail) {
    const first = section.distortion;
    const scores = detail.samples[first]?.first;
    const of = scores ? (i) => (scores[i] === undefined || scores[i] === null ? "" : `${report.title(first)} ${report.number(scores[i], 3)}; sample ${i}`) : null;
    const sign = report.columns.get(first)?.direction === "lower" ? -1 : 1;
    if (of) of.worse = (a, b) => sign * ((scores[a] ?? 0) - (scores[b] ?? 0));
    const blocks = [
      line.status !== "finished" ? el("p", { class: "warn" }, detail.seeds.map((s) => `seed ${s.seed}: ${s.status}`).join("; ")) : null,
      detail.marks.length ? el("p", { class: "warn" }, `Contract: ${detail.marks.join("; ")}`) : null,
      block("What comes back", seen(detail, of)), block("Operating points", points(detail)), block("By sample", report.distributions(detail.samples, first)),
      block("Latents", latents(detail.latents)), block("Training", curves(detail.seeds)), block("Metrics", metrics(line)), block("Cost", cost(line)), block("Provenance", provenance(detail.seeds))];
    place.replaceChildren(...blocks.filter(Boolean));
    for (const draw of place.querySelectorAll("[data-draw]")) draw.draw?.();
  }

  const block = (title, ...content) => (content.flat(Infinity).some(Boolean) ? el("section", {}, el("h2", {}, title), content) : null);

  function seen(detail, of) {
    if (!detail.media.parts) {
      const why = data.share === 0 ? "they did not fit: give report a larger --media" : "a suite stores them with reconstruction.keep and generation.keep";
      return el("p", { class: "quiet" }, `No pictures or sounds are on this page: ${why}.`);
    }
    return [report.player(detail.media, of), report.sounds(detail.media, of)];
  }

  function points(detail) {
    if (detail.points.length < 2) return null;
    const names = [...new Set(detail.points.flatMap((p) => Object.keys(p.metrics)))];
    const shown = el("div");
    const change = (i) => {
      const one = detail.points[i];
      shown.replaceChildren(report.table(`At ${one.point}`, ["", "value", "95 % interval"], [
        ...names.map((name) => [report.title(name), report.number(one.metrics[name]?.[0]), interval(one.metrics[name])]),
        ["seconds per sample", report.number(one.seconds, 3), ""]]));
      return one.point;
    };
    const slider = report.range("Decoded at", { min: 0, max: detail.points.length - 1, value: detail.points.length - 1 }, change, "point");
    const pictures = names.slice(0, 2).map((name) => chart({
      caption: `${report.title(name)} at each operating point, with its 95 % interval`, height: 260,
      draw: () => ({ traces: [{ type: "scatter", mode: "lines+markers", x: detail.points.map((p) => report.inert(p.point)), y: detail.points.map((p) => p.metrics[name]?.[0]), marker: { color: report.style("--accent") },
        error_y: { type: "data", symmetric: false, array: detail.points.map((p) => (p.metrics[name]?.[2] ?? p.metrics[name]?.[0]) - p.metrics[name]?.[0]), arrayminus: detail.points.map((p) => p.metrics[name]?.[0] - (p.metrics[name]?.[1] ?? p.metrics[name]?.[0])) } }],
        layout: { xaxis: { type: "category" }, yaxis: { title: report.heading(name) } } }),
      table: [["point", report.heading(name)], detail.points.map((p) => [p.point, report.number(p.metrics[name]?.[0])])] }));
    return [slider, shown, el("div", { class: "charts" }, pictures)];
  }

  const interval = (value) => (value && value[1] !== null && value[1] !== undefined ? `${report.number(value[1])} to ${report.number(value[2])}` : "");

  /** A chart that is drawn once it stands on the page. */
  function chart(options) {
    const place = el("div", { "data-draw": "" });
    place.draw = () => report.chart(place, options);
    return place;
  }
  report.later = chart;

  function metrics(line) {
    const measured = data.columns.filter((c) => report.cell(line, c.name) && !["axis", "shape", "cost"].includes(c.role));
    const table = (columns, caption) => report.table(caption, ["metric", "value", "95 % interval", "about", "protocol"], columns.map((c) => {
      const entry = report.cell(line, c.name);
      return [report.heading(c.name), report.text(line, c.name), interval([0, entry[3], entry[4]]), c.role, report.protocol(line, c.name)];
    }), { class: "wrapped metrics", quiet: true });
    const first = measured.filter((c) => c.shown), rest = measured.filter((c) => !c.shown);
    return [first.length ? table(first, "Metrics with their protocols") : null,
      rest.length ? el("details", {}, el("summary", {}, `${rest.length} more`), table(rest, "Further metrics with their protocols")) : null];
  }

  function latents(known) {
    if (!known.maps && !known.codes) return null;
    const parts = [];
    if (known.maps) {
      const tiles = Array.from({ length: known.maps.count }, (_, i) => report.tile(known.maps, i, { size: 72, label: `latents of sample ${i}` }));
      parts.push(el("p", {}, "The first three principal components of the first samples' latents as red, green and blue:"),
        report.transport(known.maps.frames, 8, (frame) => tiles.forEach((tile) => tile.show(frame))), el("div", { class: "tiles-of" }, tiles));
    }
    const bars = (values, caption, x, first = 1) => chart({ caption, height: 240,
      draw: () => ({ traces: [{ type: "bar", x: values.map((_, i) => i + first), y: values, marker: { color: report.style("--accent") }, hovertemplate: "%{x}: %{y:.3~g}<extra></extra>" }],
        layout: { xaxis: { title: x }, yaxis: { title: "share", rangemode: "tozero" } } }),
      table: values.length > 100 ? null : [[x, "share"], values.map((v, i) => [String(i + first), report.number(v, 3)])] });
    const charts = [];
    if (known.variances) charts.push(bars(known.variances, "Share of the variance by principal component of the channels", "component"));
    if (known.spectrum) charts.push(bars(known.spectrum, "Share of the latents' power by spatial frequency, from slow to fast", "band"));
    if (known.codes) charts.push(bars(known.codes.shares, `How often codes occur, the most used first (${known.codes.distinct} occur)`, "code"));
    return [...parts, el("div", { class: "charts" }, charts)];
  }

  function curves(seeds) {
    const parts = [];
    for (const kind of ["tokenizer", "prior"]) {
      const trained = seeds.filter((s) => s.curves[kind]);
      if (!trained.length) continue;
      const names = Object.keys(trained[0].curves[kind]).filter((name) => name !== "step");
      const place = el("div", { "data-draw": "" });
      const draw = (name) => report.chart(place, {
        caption: `${kind}: ${name} by training step${trained.length > 1 ? ", a line per seed" : ""}`, height: 280,
        draw: () => ({ traces: trained.map((s) => ({ type: "scatter", mode: "lines", name: `seed ${s.seed}`, x: s.curves[kind].step, y: s.curves[kind][name], hovertemplate: "step %{x}: %{y:.4~g}<extra></extra>" })),
          layout: { showlegend: trained.length > 1, xaxis: { title: "step" }, yaxis: { title: name, type: report.scale((trained[0].curves[kind][name] || []).filter((v) => v !== null)) } } }),
        table: [["step", ...trained.map((s) => `seed ${s.seed}`)], trained[0].curves[kind].step.map((step, i) => [report.number(step), ...trained.map((s) => report.number(s.curves[kind][name]?.[i]))])] });
      place.draw = () => draw(names.includes("loss") ? "loss" : names[0]);
      parts.push(el("div", {}, el("h3", {}, kind), report.select("Curve", names.map((n) => [n, n]), names.includes("loss") ? "loss" : names[0], draw, `curve-${kind}`), place));
    }
    return parts.length ? el("div", { class: "charts" }, parts) : null;
  }

  function cost(line) {
    const rows = data.columns.filter((c) => c.role === "cost" && report.cell(line, c.name)).map((c) => [c.title, report.text(line, c.name), c.unit]);
    return rows.length ? report.table("What it cost, the mean over seeds", ["", "value", "unit"], rows, { quiet: true }) : null;
  }

  function provenance(seeds) {
    return seeds.map((s) => el("details", { open: seeds.length === 1 }, el("summary", {}, `seed ${s.seed}: ${s.status}`),
      el("p", {}, "These numbers again, from the same folder: ", el("code", {}, s.command)),
      report.table("Jobs", ["kind", "key", "device", "host", "seconds", "memory [MiB]", "finished", "folder"],
        s.jobs.map((j) => [j.kind, j.key, j.device, j.host, report.number(j.seconds, 3), report.number(j.memory), (j.finished || "").slice(0, 19).replace("T", " "), j.folder]), { quiet: true }),
      report.table("SHA-256 of what was kept", ["file", "digest"], s.jobs.flatMap((j) => Object.entries(j.digests || {}).map(([file, digest]) => [`${j.kind}/${file}`, el("code", {}, digest)])), { quiet: true }),
      el("p", { class: "small quiet" }, [...new Set(s.jobs.flatMap((j) => j.versions || []))].join(" · ")),
      s.config ? el("details", {}, el("summary", {}, "The tokenizer's configuration"), el("pre", {}, s.config)) : null,
      s.prior ? el("details", {}, el("summary", {}, "The prior's configuration"), el("pre", {}, s.prior)) : null));
  }
})();
