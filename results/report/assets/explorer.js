"use strict";
// All lines: a table, any column over any other, heat maps; the address restores what is seen.

(() => {
  const { el, data } = report;

  report.views.explorer = (main) => {
    const table = el("div"), picture = el("div"), heat = el("div"), count = el("p", { class: "quiet", role: "status" });
    let seen = data.lines;
    const paint = () => { plot(picture, seen); report.heatmap(heat, seen); };
    const drawSoon = soon(paint);
    main.append(el("h1", {}, "Explorer"), count, el("div", { class: "tools" }), table,
      el("section", {}, el("h2", {}, "Any column over any other"), tools(paint), picture), el("section", {}, el("h2", {}, "Over downsample and channels"), heat));
    const [sort, way] = report.get("sort", "").split(":");
    const listing = report.grid(table, {
      order: sort ? [sort, way === "desc" ? "desc" : "asc"] : null,
      changed: (changes) => report.set(changes),
      settled: (lines) => {
        seen = lines;
        count.textContent = `${lines.length} of ${data.lines.length} lines`;
        drawSoon();
      },
    });
    main.querySelector(".tools").append(...filters(listing));
    restore(listing);
    report.listen((names) => {
      if (!names.includes("sel")) return;
      listing.mark();
      chosen(main);
      paint();
    });
    chosen(main);
  };

  function soon(action) {
    let asked = false;
    return () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => { asked = false; action(); });
    };
  }

  const distinct = (of) => [...new Set(data.lines.map(of))].sort();
  const FILTERS = [
    ["dataset", "Data set", (l) => data.sections[l.section].dataset],
    ["modality", "Modality", (l) => data.sections[l.section].modality],
    ["recipe", "Family", (l) => l.recipe],
    ["status", "Status", (l) => l.status],
  ];

  function filters(listing) {
    const fields = FILTERS.filter(([, , of]) => distinct(of).length > 1).map(([name, label, of]) =>
      report.select(label, [["", "all"], ...distinct(of).map((v) => [v, v])], report.get(name), (value) => {
        report.set({ [name]: value });
        narrow(listing, name, value);
      }, name));
    const groups = [["", "nothing"], ["dataset", "data set"], ["recipe", "family"], ...data.columns.filter((c) => ["axis", "shape"].includes(c.role)).map((c) => [c.name, c.title])];
    fields.push(report.select("Group by", groups, report.get("group"), (value) => { report.set({ group: value }); group(listing, value); }, "group"));
    return [...fields, choose(listing), conditions(listing)];
  }

  function narrow(listing, name, value) {
    const escaped = value.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    listing.grid.column(listing.place_of(name)).search(value ? `^${escaped}$` : "", true, false).draw();
  }

  function group(listing, name) {
    const rows = listing.grid.rowGroup();
    if (!name) {
      listing.grid.order.fixed({});
      rows.disable().draw();
      return;
    }
    const of = FILTERS.find(([key]) => key === name)?.[2] ?? ((line) => `${report.title(name)} ${report.cell(line, name)?.[1] ?? "–"}`);
    listing.grid.order.fixed({ pre: [[listing.place_of(name), "asc"]] });
    rows.dataSrc((line) => of(line)).enable().draw();
  }

  function choose(listing) {
    const shown = new Set(report.get("cols").split(",").filter(Boolean));
    const boxes = listing.columns.map((column, at) => {
      if (at < 2) return null;
      const box = el("input", { type: "checkbox", value: column.name, onchange: (event) => {
        listing.grid.column(at).visible(event.target.checked);
        report.set({ cols: listing.columns.filter((c, i) => i > 1 && listing.grid.column(i).visible() !== (c.visible !== false)).map((c) => c.name).join(",") });
      } });
      const visible = (column.visible !== false) !== shown.has(column.name);
      box.checked = visible;
      if (listing.grid.column(at).visible() !== visible) listing.grid.column(at).visible(visible, false);
      const label = report.columns.has(column.name) ? report.heading(column.name) : column.name;
      return el("label", { class: "check" }, box, label);
    });
    return el("details", { class: "menu" }, el("summary", {}, "Columns"), el("div", { class: "drop" }, boxes));
  }

  /** Conditions on any columns, by DataTables' own builder. */
  function conditions(listing) {
    const place = el("div", { class: "drop builder" });
    return el("details", { class: "menu", ontoggle: (event) => {
      if (event.target.open && !place.firstChild) place.append(listing.grid.searchBuilder.container()[0]);
    } }, el("summary", {}, "Conditions"), place);
  }

  function restore(listing) {
    const search = report.get("q");
    if (search) listing.grid.search(search).draw();
    listing.grid.on("search.dt", () => { if (listing.grid.search() !== report.get("q")) report.set({ q: listing.grid.search() }); });
    for (const [name] of FILTERS) if (report.get(name)) narrow(listing, name, report.get(name));
    if (report.get("group")) group(listing, report.get("group"));
    const built = report.get("where");
    if (built) {
      try { listing.grid.searchBuilder.rebuild(JSON.parse(built)); } catch { report.set({ where: "" }); }
    }
    listing.grid.on("draw.dt", () => {
      const query = listing.grid.searchBuilder.getDetails();
      const text = query.criteria && query.criteria.some((c) => c.condition) ? JSON.stringify(query) : "";
      if (text !== report.get("where")) report.set({ where: text });
    });
  }

  function numeric() {
    return data.columns.filter((c) => data.lines.some((l) => report.value(l, c.name) !== null));
  }

  function defaults() {
    const first = data.sections[0] || {};
    const names = numeric().map((c) => c.name);
    const x = [first.rate, "bits_per_sample", names[0]].find((n) => names.includes(n)) || "";
    const y = [first.distortion, names[1]].find((n) => names.includes(n)) || "";
    return { x, y };
  }

  function tools(paint) {
    const { x, y } = defaults();
    const choices = numeric().map((c) => [c.name, report.heading(c.name)]);
    const change = (name) => (value) => { report.set({ [name]: value }); paint(); };
    const colours = [["recipe", "family"], ["prior", "prior"], ["status", "status"], ...data.columns.filter((c) => ["axis", "shape"].includes(c.role)).map((c) => [c.name, c.title])];
    return el("div", { class: "tools" },
      report.select("Across", choices, report.get("x", x), change("x"), "x"),
      report.select("Up", choices, report.get("y", y), change("y"), "y"),
      report.select("Colour", colours, report.get("colour", "recipe"), change("colour"), "colour"),
      report.select("Facet", [["dataset", "by data set"], ["none", "none"]], report.get("facet", "dataset"), change("facet"), "facet"));
  }

  function plot(place, lines) {
    const standard = defaults();
    const x = report.get("x", standard.x), y = report.get("y", standard.y), colour = report.get("colour", "recipe");
    const points = lines.filter((l) => report.value(l, x) !== null && report.value(l, y) !== null);
    if (!points.length) {
      place.replaceChildren(el("p", { class: "quiet" }, `No line has both ${report.title(x)} and ${report.title(y)}: choose other columns above.`));
      return;
    }
    const faceted = report.get("facet", "dataset") === "dataset";
    const facets = faceted ? [...new Set(points.map((l) => l.section))] : [null];
    const wide = window.innerWidth < 700 ? 1 : Math.min(facets.length, facets.length === 4 ? 2 : 3), high = Math.ceil(facets.length / wide);
    report.chart(place, {
      caption: `${report.title(y)} over ${report.title(x)}; bars are 95 % intervals. A click selects a line here and in every other view.`,
      height: Math.max(380, 300 * high),
      draw: () => {
        const seen = new Set(), traces = [], layout = { showlegend: true, annotations: [], margin: { l: 60, r: 16, t: 76, b: 48 }, legend: { y: 1, yref: "container", yanchor: "top", x: 0, xref: "paper", orientation: "h", font: { color: report.style("--soft") } } };
        facets.forEach((facet, at) => {
          const members = facet === null ? points : points.filter((l) => l.section === facet);
          const suffix = at ? String(at + 1) : "", column = at % wide, row = Math.floor(at / wide);
          const gap = 0.09, width = (1 - gap * (wide - 1)) / wide, height = (1 - 0.2 * (high - 1)) / high;
          const left = column * (width + gap), top = 1 - row * (height + 0.2);
          traces.push(...report.scatter(members, x, y, { colour, seen, xaxis: `x${suffix}`, yaxis: `y${suffix}`, labels: members.length <= 8 && wide < 3 && window.innerWidth > 700 }));
          layout[`xaxis${suffix}`] = { title: report.heading(x), domain: [left, left + width], anchor: `y${suffix}`, type: report.scale(members.map((l) => report.value(l, x))) };
          layout[`yaxis${suffix}`] = { title: column ? undefined : report.heading(y), domain: [Math.max(0, top - height), top], anchor: `x${suffix}`, type: report.scale(members.map((l) => report.value(l, y))) };
          if (facet !== null) layout.annotations.push({ text: report.inert(data.sections[facet].title), showarrow: false, xref: "paper", yref: "paper", x: left, xanchor: "left", y: top, yanchor: "bottom", font: { size: 12, color: report.style("--soft") } });
        });
        return { traces, layout };
      },
      table: points.length > 500 ? null : [["tokenizer", "data set", report.heading(x), report.heading(y)], points.map((l) => [report.link(l), data.sections[l.section].dataset, report.text(l, x), report.text(l, y)])],
      click: (point) => { if (point.customdata) report.toggle(point.customdata); },
    });
  }

  /** What is selected, and what can be done with it. */
  function chosen(main) {
    main.querySelector(".chosen-bar")?.remove();
    const ids = report.selection();
    if (!ids.length) return;
    main.append(el("div", { class: "chosen-bar", role: "status" }, el("span", {}, `${ids.length} selected`),
      ids.length > 1 ? el("a", { class: "button", href: report.address("compare") }, "Compare") : null,
      el("button", { type: "button", onclick: () => report.set({ sel: "" }) }, "Clear")));
  }
})();
