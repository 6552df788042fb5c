"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const every = (selector, within = document) => [...within.querySelectorAll(selector)];
  const count = new Intl.NumberFormat("en");

  // Evidence: the fragment names a panel, its dialog is shown, and Back closes it.
  let opener = null;
  let returning = false;
  const named = () => {
    try { return decodeURIComponent(location.hash.slice(1)); } catch { return ""; }
  };
  const shown = () => document.querySelector("dialog[open]");
  const show = () => {
    const name = named();
    const panel = name && document.getElementById(name);
    const dialog = panel && panel.closest("dialog");
    const other = shown();
    if (other && other !== dialog) { returning = true; other.close(); returning = false; }
    if (!dialog || !panel.matches(".panel")) return;
    for (const each of every(".panel.shown")) each.classList.remove("shown");
    panel.classList.add("shown");
    // What stands on the page elsewhere is not written twice.
    for (const each of every("[data-same]", panel)) {
      each.replaceChildren(...document.getElementById(each.dataset.same).cloneNode(true).childNodes);
      delete each.dataset.same;
    }
    for (const tab of every(".tab", dialog)) {
      const here = decodeURIComponent(tab.hash.slice(1)) === name;
      if (here) { tab.setAttribute("aria-current", "true"); } else { tab.removeAttribute("aria-current"); }
    }
    if (!dialog.open) {
      dialog.showModal();
      dialog.querySelector("h2").focus({ preventScroll: true });
    }
    const current = dialog.querySelector(".tab[aria-current]");
    if (current) {
      const strip = current.parentElement;
      strip.scrollLeft = current.offsetLeft - strip.offsetLeft - (strip.clientWidth - current.offsetWidth) / 2;
    }
    dialog.scrollTop = 0;
    paint(panel);
  };
  const go = (hash, replace) => {
    if (replace) { history.replaceState(history.state, "", hash); } else { history.pushState({ opened: true }, "", hash); }
    show();
  };
  const leave = () => {
    if (history.state && history.state.opened) { history.back(); } else { history.replaceState(null, "", location.pathname + location.search); show(); }
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    if (link.classList.contains("close")) { leave(); return; }
    const inside = link.closest("dialog");
    if (!inside) opener = link;
    let hash = link.getAttribute("href");
    if (link.dataset.go) {
      // The neighbour on the same runtime, where it was asked there.
      const panel = inside.querySelector(".panel.shown");
      const wanted = decodeURIComponent(hash.slice(1)).replace(/@contract$/, "") + panel.id.slice(inside.dataset.row.length);
      if (document.getElementById(wanted)) hash = "#" + encodeURIComponent(wanted);
    }
    go(hash, Boolean(inside));
  });
  for (const dialog of every("dialog")) {
    dialog.addEventListener("cancel", (event) => { event.preventDefault(); leave(); });
    dialog.addEventListener("close", () => {
      if (returning) return;
      returnFocus(dialog);
    });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) outside(event, dialog); });
  }
  const outside = (event, dialog) => {
    const box = dialog.getBoundingClientRect();
    if (event.clientX < box.left || event.clientX > box.right) leave();
  };
  const returnFocus = (dialog) => {
    const row = document.querySelector(`dialog[data-row="${CSS.escape(dialog.dataset.row)}"]`) && rowOf.get(dialog.dataset.row);
    const home = opener && row && row.contains(opener) ? opener : row && row.querySelector("a");
    if (home) home.focus({ preventScroll: home === opener });
  };
  const rowOf = new Map();
  for (const row of every(".row")) {
    const name = decodeURIComponent(row.querySelector(".name").hash.slice(1)).replace(/@contract$/, "");
    rowOf.set(name, row);
  }
  window.addEventListener("popstate", () => {
    const open = shown();
    show();
    if (open && !shown()) { returnFocus(open); }
    if (open && !named()) { open.close(); }
  });
  window.addEventListener("hashchange", show);

  // Arrows: between cells of the matrix, between tabs of the evidence, between events of a time axis.
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  document.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    const at = event.target;
    if (at.matches(".plot")) { if (step[1]) { event.preventDefault(); walk(at.closest(".axis"), step[1]); } return; }
    if (at.matches(".tab")) {
      const tabs = every(".tab", at.parentElement);
      const next = step[1] && tabs[tabs.indexOf(at) + step[1]];
      if (next) { event.preventDefault(); next.focus(); }
      return;
    }
    if (!at.matches(".row a")) return;
    const rows = every(".row").filter((row) => row.offsetParent);
    const row = at.closest("tr");
    const place = at.closest("td,th").cellIndex + step[1];
    const target = rows[rows.indexOf(row) + step[0]];
    const link = target && target.cells[place] && target.cells[place].querySelector("a");
    if (link) { event.preventDefault(); link.focus(); }
  });

  // Time axes: hover, tap or arrows show an event.
  const light = (axis, number, scroll) => {
    const list = axis.parentElement.querySelector(".events");
    const item = list.querySelector(`li[data-n="${number}"]`);
    if (!item) return;
    for (const lit of every(".lit", axis.parentElement)) lit.classList.remove("lit");
    item.classList.add("lit");
    const mark = axis.querySelector(`.m[data-n="${number}"]`);
    if (mark) mark.classList.add("lit");
    const readout = axis.querySelector(".readout");
    readout.hidden = false;
    const head = document.createElement("b");
    head.textContent = `${number} · ${item.querySelector(".kind").textContent} · ${item.querySelector(".at").textContent} `;
    readout.replaceChildren(head, item.querySelector("code").textContent);
    if (scroll) list.scrollTop = item.offsetTop - list.offsetTop - list.clientHeight / 2;
    axis.dataset.at = number;
  };
  const walk = (axis, by) => {
    const marks = every(".plot .m", axis).map((each) => each.dataset.n);
    const next = marks[axis.dataset.at ? marks.indexOf(axis.dataset.at) + by : 0];
    if (next) light(axis, next, true);
  };
  const nearest = (axis, event) => {
    let best = null;
    let least = 14 * 14;
    for (const mark of every(".plot .m", axis)) {
      const box = mark.getBoundingClientRect();
      const away = (box.x + box.width / 2 - event.clientX) ** 2 + (box.y + box.height / 2 - event.clientY) ** 2;
      if (away < least) { least = away; best = mark; }
    }
    return best;
  };
  document.addEventListener("pointermove", (event) => {
    const axis = event.target.closest(".plot") && event.target.closest(".axis");
    const mark = axis && nearest(axis, event);
    if (mark && mark.dataset.n !== axis.dataset.at) light(axis, mark.dataset.n, false);
  });
  document.addEventListener("click", (event) => {
    const axis = event.target.closest(".axis");
    const mark = axis && event.target.closest(".plot") && nearest(axis, event);
    if (mark) light(axis, mark.dataset.n, true);
    const item = event.target.closest(".events li[data-n]");
    if (item) light(item.closest("section").querySelector(".axis"), item.dataset.n, false);
  });

  // Filters.
  const form = document.querySelector(".filters");
  const fields = form.elements;
  const words = new Map(every(".row").map((row) => [row, row.textContent.toLowerCase()]));
  const nothing = document.querySelector(".nothing");
  const filter = () => {
    const text = fields.text.value.trim().toLowerCase();
    let left = 0;
    for (const body of every(".matrix tbody")) {
      let some = false;
      for (const row of every(".row", body)) {
        const fits = (!text || words.get(row).includes(text) || (body.dataset.area + "." + text).includes("." + text + "."))
          && (!fields.area.value || body.dataset.area === fields.area.value)
          && (!fields.verdict.value || row.dataset.verdicts.split(" ").includes(fields.verdict.value))
          && (!fields.differ || !fields.differ.checked || "differs" in row.dataset);
        row.hidden = !fits;
        some = some || fits;
        left += fits;
      }
      body.hidden = !some;
    }
    nothing.hidden = left > 0;
    form.querySelector("output").textContent = left === words.size ? "" : `${count.format(left)} of ${count.format(words.size)}`;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  nothing.querySelector("button").addEventListener("click", () => { form.reset(); filter(); fields.text.focus(); });
  filter();

  // Colours for JSON, painted when it is first seen; the text stays text.
  const painted = new WeakSet();
  const paint = (panel) => {
    if (!("highlights" in CSS)) return;
    for (const pre of every("pre.json, .events code", panel)) {
      if (painted.has(pre) || !pre.firstChild) continue;
      painted.add(pre);
      const node = pre.firstChild;
      for (const found of node.data.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|-?\b\d[\d.eE+-]*\b/g)) {
        const name = found[2] ? "key" : found[1] ? "string" : "number";
        const range = new Range();
        range.setStart(node, found.index);
        range.setEnd(node, found.index + (found[1] || found[0]).length);
        if (!CSS.highlights.has(name)) CSS.highlights.set(name, new Highlight());
        CSS.highlights.get(name).add(range);
      }
    }
  };
  show();
})();
