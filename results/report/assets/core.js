"use strict";
// The page's state, which is its address, and the one way to make elements: text stays text.

const report = (() => {
  const data = window.REPORT;
  const lines = new Map(data.lines.map((line) => [line.id, line]));
  const columns = new Map(data.columns.map((column) => [column.name, column]));
  const views = {};
  const loaded = new Map();
  const waiting = new Map();
  const listeners = [];

  /** An element: attributes by name (`on…` are listeners, `class` and `data-…` as in HTML), then children. */
  function el(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
    return node;
  }

  /** Text for HTML, and for the few tags that plotly.js would set. */
  function inert(text) {
    return String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
  }

  /** The address: which view, of what, and its settings. */
  function read() {
    const [path, query] = location.hash.replace(/^#/, "").split("?");
    const [view, ...rest] = path.split("/");
    return { view: views[view] ? view : "overview", of: rest.join("/"), settings: new URLSearchParams(query || "") };
  }

  function address(view, of = "", settings = {}) {
    const query = new URLSearchParams();
    const merged = { sel: get("sel", ""), ...settings };
    for (const [name, value] of Object.entries(merged)) if (value !== "" && value !== null) query.set(name, value);
    const text = query.toString();
    return `#${view}${of ? `/${of}` : ""}${text ? `?${text}` : ""}`;
  }

  function get(name, otherwise = "") {
    return read().settings.get(name) ?? otherwise;
  }

  /** Change settings of the view without a step in the browser's history; listeners hear of it. */
  function set(changes) {
    const { view, of, settings } = read();
    for (const [name, value] of Object.entries(changes)) {
      if (value === "" || value === null) settings.delete(name);
      else settings.set(name, value);
    }
    const query = settings.toString();
    history.replaceState(null, "", `#${view}${of ? `/${of}` : ""}${query ? `?${query}` : ""}`);
    for (const listener of [...listeners]) listener(Object.keys(changes));
  }

  function selection() {
    return get("sel", "").split(",").filter((id) => lines.has(id));
  }

  function toggle(id) {
    const chosen = selection();
    const next = chosen.includes(id) ? chosen.filter((other) => other !== id) : [...chosen, id];
    set({ sel: next.join(",") });
  }

  /** Pictures, curves and provenance of a line: in scripts of their own, which are loaded when first asked for. */
  function detail(id) {
    if (loaded.has(id)) return Promise.resolve(loaded.get(id));
    return new Promise((resolve, reject) => {
      waiting.set(id, [...(waiting.get(id) || []), resolve]);
      if (data.single) return;
      const chunk = Math.floor([...lines.keys()].indexOf(id) / data.chunk);
      const source = `data/details-${chunk}.js`;
      if (document.querySelector(`script[src="${source}"]`)) return;
      document.head.append(el("script", { src: source, onerror: () => reject(new Error(`${source} is not there`)) }));
    });
  }

  function details(chunk) {
    for (const [id, value] of Object.entries(chunk)) {
      loaded.set(id, value);
      for (const resolve of waiting.get(id) || []) resolve(value);
      waiting.delete(id);
    }
  }

  const cell = (line, name) => line.cells[name] || null;
  const value = (line, name) => (cell(line, name) ? cell(line, name)[0] : null);
  const title = (name) => (columns.has(name) ? columns.get(name).title : name);
  const ARROWS = { higher: "↑", lower: "↓", none: "" };

  /** A column's name with its unit and the direction that is better. */
  function heading(name) {
    const column = columns.get(name);
    if (!column) return name;
    const unit = column.unit ? ` [${column.unit}]` : "";
    return `${column.title}${unit} ${ARROWS[column.direction]}`.trim();
  }

  function text(line, name) {
    const entry = cell(line, name);
    if (!entry) return "–";
    return entry[2] ? `${entry[1]} ± ${entry[2]}` : entry[1];
  }

  /** By what protocol the line's metric was measured, on how many samples, and what hardly moves it. */
  function protocol(line, name) {
    const all = (data.sections[line.section].protocols || {})[name] || [];
    const one = all.find((entry) => !entry.lines || entry.lines.includes(line.id));
    if (!one) return "";
    const count = one.n.length ? `n = ${one.n.join(" to ")}` : "";
    return [count, one.text, one.blind ? `nearly blind to ${one.blind}` : ""].filter(Boolean).join("; ");
  }

  function number(x, digits = 4) {
    if (x === null || x === undefined) return "–";
    return Number.isInteger(x) && Math.abs(x) < 1e7 ? String(x) : String(Number(Number(x).toPrecision(digits)));
  }

  function duration(seconds) {
    if (!(seconds >= 60)) return `${number(seconds, 3)} s`;
    const minutes = Math.round(seconds / 60);
    return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  }

  /** A table of plain text: heads, and rows of cells (text, or an element). */
  function table(caption, heads, rows, options = {}) {
    const head = el("tr", {}, heads.map((h) => el("th", { scope: "col" }, h)));
    const body = rows.map((row) =>
      el("tr", {}, row.map((c, i) => el(i === 0 ? "th" : "td", i === 0 ? { scope: "row" } : {}, c ?? ""))),
    );
    const node = el("table", { class: `plain ${options.class || ""}` },
      el("caption", { class: options.quiet ? "hidden" : null }, caption), el("thead", {}, head), el("tbody", {}, body));
    return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, node);
  }

  function select(label, choices, chosen, change, name) {
    const options = choices.map(([value, shown]) => el("option", { value, selected: value === chosen }, shown));
    return el("label", { class: "field" }, el("span", {}, label),
      el("select", { name, onchange: (event) => change(event.target.value) }, options));
  }

  function range(label, { min, max, step = 1, value: at }, change, name) {
    const shown = el("output", {}, "");
    const input = el("input", { type: "range", min, max, step, value: at, name,
      oninput: (event) => { shown.textContent = change(Number(event.target.value)) ?? ""; } });
    shown.textContent = change(Number(at)) ?? "";
    return el("label", { class: "field range" }, el("span", {}, label), input, shown);
  }

  function link(line) {
    return el("a", { href: address("tokenizer", line.id) }, line.name);
  }

  return {
    data, lines, columns, views, el, inert, read, address, get, set, selection, toggle, detail, details, cell, value,
    title, heading, text, protocol, number, duration, table, select, range, link,
    listen: (listener) => listeners.push(listener),
    quiet: () => listeners.splice(0),
  };
})();
