"use strict";
// The page's head, its views by address, and its colours.

(() => {
  const { el, data } = report;
  const NAMES = [["overview", "Overview"], ["explorer", "Explorer"], ["tokenizer", "Tokenizers"], ["compare", "Compare"], ["calibration", "Calibration"], ["failures", "Failures"]];
  const main = document.getElementById("main");

  function head() {
    const tabs = NAMES.filter(([view]) => view !== "calibration" || data.calibrations.length).map(([view, name]) =>
      el("a", { href: `#${view}`, "data-view": view }, view === "failures" && data.failures.length ? `${name} (${data.failures.length})` : name));
    document.getElementById("top").append(el("div", { class: "band" }, el("a", { class: "brand", href: "#overview" }, "latentbench"),
      el("nav", { "aria-label": "Views" }, tabs), el("button", { type: "button", id: "theme", onclick: turn }, "Dark")));
    document.getElementById("foot").append(el("p", { class: "quiet small" }, `latentbench ${data.version}, made ${data.made} from ${data.dirs.join(", ")}`));
  }

  function shown() {
    const set = document.documentElement.dataset.theme;
    return set || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  }

  function turn() {
    document.documentElement.dataset.theme = shown() === "dark" ? "light" : "dark";
    try { localStorage.setItem("latentbench-theme", document.documentElement.dataset.theme); } catch { /* private windows keep nothing */ }
    named();
    report.repaint();
  }

  function named() {
    document.documentElement.classList.toggle("dark", shown() === "dark"); // what DataTables goes by
    document.getElementById("theme").textContent = shown() === "dark" ? "Light" : "Dark";
  }

  function render() {
    const { view, of } = report.read();
    report.quiet();
    main.replaceChildren();
    for (const tab of document.querySelectorAll("nav a")) {
      if (tab.dataset.view === view) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
      tab.setAttribute("href", report.address(tab.dataset.view));
    }
    report.views[view](main, of);
    document.title = `${main.querySelector("h1")?.textContent || "report"} · latentbench`;
    window.scrollTo(0, 0);
  }

  try {
    const theme = localStorage.getItem("latentbench-theme");
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  } catch { /* as above */ }
  head();
  named();
  document.querySelector("[data-skip]").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { named(); report.repaint(); });
  addEventListener("hashchange", render);
  if (report.live) report.live(main);
  render();
})();
