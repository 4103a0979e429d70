"use strict";
// Tables that sort, filter and group, by DataTables: every cell is escaped, and has its protocol on hover.

(() => {
  const { el, inert } = report;
  const DataTable = window.tables.default;
  const last = (sign) => (a, b) => (a === "" ? (b === "" ? 0 : 1) : b === "" ? -1 : sign * (a - b));
  // What has no value comes last, whichever way is sorted.
  DataTable.type("measured", { order: { asc: last(1), desc: last(-1) }, className: "number" });
  DataTable.ext.errMode = (_, __, message) => console.error(message);

  const number = (column) => ({
    title: inert(report.heading(column.name)), name: column.name, type: "measured", searchBuilderType: "num",
    visible: column.shown, className: "number", data: null,
    render: (line, type) => {
      const entry = report.cell(line, column.name);
      if (type !== "display") return entry && entry[0] !== null ? entry[0] : "";
      if (!entry) return "–";
      const margin = entry[2] ? ` <span class="margin">± ${inert(entry[2])}</span>` : "";
      const shown = entry[5] ? `<b>${inert(entry[1])}</b>` : inert(entry[1]);
      const protocol = report.protocol(line, column.name);
      return protocol ? `<span title="${inert(protocol)}">${shown}${margin}</span>` : shown + margin;
    },
  });

  const words = (title, name, of, more = {}) => ({
    title: inert(title), name, data: null, className: "word", searchBuilderType: "string",
    render: (line, type) => (type === "display" ? inert(of(line)) : of(line)), ...more,
  });

  const FIXED = [
    { title: '<span class="hidden">select</span>', name: "pick", data: null, orderable: false, searchable: false, className: "pick",
      render: (line, type) => (type === "display" ? `<input type="checkbox" data-pick="${inert(line.id)}" aria-label="${inert(`select ${line.name}`)}">` : "") },
    { ...words("tokenizer", "tokenizer", (line) => line.name),
      render: (line, type) => (type === "display" ? `<a title="${inert(line.name)}" href="${inert(report.address("tokenizer", line.id))}">${inert(line.name)}</a>` : line.name) },
    words("data set", "dataset", (line) => report.data.sections[line.section].dataset),
    words("recipe", "recipe", (line) => line.recipe, { visible: false }),
    words("modality", "modality", (line) => report.data.sections[line.section].modality, { visible: false }),
    words("suite", "suite", (line) => report.data.sections[line.section].suite, { visible: new Set(report.data.sections.map((s) => s.suite)).size > 1 }),
    words("status", "status", (line) => line.status, { visible: report.data.lines.some((line) => line.status !== "finished") }),
    words("seeds", "seeds", (line) => line.seeds.join("/")),
    { title: "rank", name: "rank", type: "measured", searchBuilderType: "num", className: "number", data: null,
      render: (line, type) => (line.rank === null ? (type === "display" ? "–" : "") : line.rank) },
    words("front", "front", (line) => (line.front ? "●" : "")),
  ];

  /** The explorer's table in `place`; `settled` is told the lines that the filters leave, after every change. */
  report.grid = (place, { order, settled, changed }) => {
    const columns = [...FIXED, ...report.data.columns.map(number)];
    const node = el("table", { class: "grid display nowrap", "aria-label": "All tokenizers" },
      el("caption", {}, "All tokenizers, over their seeds: ± is half of the 95 % interval; bold is the best, and what does not differ from it; ranks are shared by what can't be told apart."));
    place.replaceChildren(el("div", { class: "wide" }, node));
    const place_of = (name) => columns.findIndex((c) => c.name === name);
    const first = order && place_of(order[0]) >= 0 ? [[place_of(order[0]), order[1]]] : [];
    const grid = new DataTable(node, {
      data: report.data.lines, columns, order: first, pageLength: 25, lengthMenu: [10, 25, 50, 100, 500], autoWidth: false,
      searchBuilder: { columns: columns.map((_, i) => i).slice(1) },
      layout: { topStart: "search", topEnd: "pageLength", bottomStart: "info", bottomEnd: "paging" },
      rowGroup: { enable: false, dataSrc: () => "", startRender: (rows, group) => document.createTextNode(`${group} (${rows.count()})`) },
      language: { search: "Search", lengthMenu: "_MENU_ a page", info: "_START_ to _END_ of _TOTAL_", infoFiltered: "(of _MAX_)" },
      drawCallback() { mark(node); },
    });
    node.addEventListener("change", (event) => { if (event.target.dataset.pick) report.toggle(event.target.dataset.pick); });
    const sight = () => settled(grid.rows({ search: "applied" }).data().toArray());
    grid.on("search.dt", sight);
    grid.on("order.dt", () => {
      const [at] = grid.order();
      if (at) changed({ sort: `${columns[at[0]].name}:${at[1]}` });
    });
    sight();
    return { grid, columns, place_of, mark: () => mark(node) };
  };

  function mark(node) {
    const chosen = new Set(report.selection());
    for (const box of node.querySelectorAll("input[data-pick]")) {
      box.checked = chosen.has(box.dataset.pick);
      box.closest("tr").classList.toggle("chosen", box.checked);
    }
  }
})();
