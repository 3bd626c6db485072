"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const held = (id) => JSON.parse(at(id).textContent);
  const root = document.documentElement;

  // Theme: that of the system until the button is pressed.
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  try { const kept = localStorage.getItem("ffprompt-theme"); if (kept) root.dataset.theme = kept; } catch { /* file:// may forbid it */ }
  at("theme").addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("ffprompt-theme", root.dataset.theme); } catch { /* the page forgets */ }
    draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());

  // Figures: the data come without the colours of the theme and without the room there is.
  const charts = held("chart-data");
  const narrow = () => innerWidth < 600 && !root.classList.contains("printing");
  const layoutOf = (box, data, layout) => {
    const style = getComputedStyle(root), ink = style.getPropertyValue("--ink"), line = style.getPropertyValue("--line");
    const made = structuredClone(layout);
    Object.assign(made, { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: narrow() ? 10 : 12, family: "system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, Arial, sans-serif" } });
    for (const name of Object.keys(made).filter((one) => /^[xy]axis\d*$/.test(one))) Object.assign(made[name], { gridcolor: line, zerolinecolor: line, linecolor: line });
    made.hoverlabel = { align: "left", bgcolor: style.getPropertyValue("--panel"), bordercolor: line, font: { color: ink } };
    made.modebar = { bgcolor: "rgba(0,0,0,0)", color: style.getPropertyValue("--soft"), activecolor: ink };
    if (made.meta?.height) return Object.assign(made, { height: made.meta.height });  // several maps in one figure
    const rows = Number(box.dataset.rows), series = made.showlegend ? Number(box.dataset.series) : 0;
    // Legend entries stand in as many columns as their longest name leaves room for, and none is cut or scrolled away.
    const size = narrow() ? 9 : 11, shown = data.filter((one) => one.showlegend), room = box.clientWidth - 60;
    const most = Math.max(10, Math.floor((room - 50) / (0.6 * size)));
    // A name is broken at a blank, and inside a word that is longer than a line.
    const piece = new RegExp(`(?:&[a-z0-9#]+;|.){1,${most}}(?=\\s|$)|(?:&[a-z0-9#]+;|\\S){1,${most}}`, "gu");
    for (const one of shown) one.name = one.name.match(piece)?.map((text) => text.trim()).join("<br>") ?? "";
    const entry = 50 + 0.6 * size * Math.min(most, Math.max(...shown.map((one) => one.name.length)));
    const columns = Math.max(1, Math.min(series, Math.floor(room / entry)));
    const lines = columns > 1 ? Math.ceil(series / columns) : shown.reduce((sum, one) => sum + (1 + one.name.split("<br>").length) / 2, 0);
    const legend = rows ? 30 : 30 + 20 * lines;
    if (rows) {
      const placed = made.yaxis.ticktext, names = placed || made.yaxis.categoryarray, parts = narrow() ? "<br>" : " · ";
      const escaped = (text) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
      const folded = (text) => narrow() ? text.split(" · ").map((part) => part.length > 22 ? part.slice(0, 21) + "…" : part) : [text];
      Object.assign(made.yaxis, { tickvals: placed ? made.yaxis.tickvals : names, ticktext: names.map((name) => folded(name).map(escaped).join(parts)) });
      made.yaxis.tickfont = { size: narrow() ? 8 : 11 };
      made.yaxis.range = placed ? [rows - 0.4, -0.6] : [-0.6, rows - 0.4];
      if (placed) made.yaxis.zeroline = false;
      made.legend = { orientation: "h", x: 0, y: 1.0, yanchor: "bottom" };
      if (narrow()) made.legend.font = { size: 9 };
      made.margin.t = narrow() ? 64 : 30;
      const high = narrow() ? Math.max(...names.map((name) => name.split(" · ").length)) : 2;
      made.height = (narrow() ? 130 : 110) + rows * (placed ? 64 : 12 + 8 * high);
    } else {
      made.height = 340 + legend;
      if (series) Object.assign(made.legend, { font: { size }, y: -0.3, tracegroupgap: 0, maxheight: 30 * lines + 40 }, columns > 1 ? { entrywidth: entry - 45 } : { orientation: "v" });
      made.margin.b = 50;
    }
    return made;
  };
  // Series of one x stand a little beside each other when they are drawn; the numbers in the page stay.
  const moved = (one, axis) => {
    const shift = one.meta?.shift;
    if (shift) one.x = one.x.map((x) => x === null ? x : axis.type === "log" ? x * 10 ** shift : x + shift);
    return one;
  };
  // A figure is drawn when it is first seen: what is hidden has no width.
  const draw = () => {
    for (const box of document.querySelectorAll(".chart")) {
      if (box.offsetParent === null) { box.replaceChildren(); continue; }
      const { data, layout } = structuredClone(charts[box.dataset.name]);
      for (const one of data) moved(one, layout.xaxis);
      Plotly.react(box, data, layoutOf(box, data, layout), { responsive: true, displaylogo: false, displayModeBar: narrow() ? false : "hover", modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] });
    }
  };
  // The part that is chosen is the one that the address names. What is printed has all of them.
  const parts = [...document.querySelectorAll("section.tab")];
  const choose = () => {
    const named = parts.find((part) => part.id === location.hash.slice(1)) ?? parts[0];
    for (const part of parts) part.hidden = part !== named;
    for (const link of document.querySelectorAll("nav a")) link.toggleAttribute("aria-current", link.hash === `#${named.id}`);
    draw();
    scrollTo(0, 0);
  };
  addEventListener("hashchange", choose);
  const folded = [];
  addEventListener("beforeprint", () => {
    root.classList.add("printing");  // as wide as a sheet, so that figures are drawn for it
    for (const part of parts) part.hidden = false;
    for (const fold of document.querySelectorAll("details.model:not([open])")) { folded.push(fold); fold.open = true; }
    draw();
  });
  addEventListener("afterprint", () => {
    root.classList.remove("printing");
    for (const fold of folded.splice(0)) fold.open = false;
    choose();
  });
  for (const fold of document.querySelectorAll("details")) fold.addEventListener("toggle", () => { if (fold.querySelector(".chart")) draw(); });
  let last = narrow();
  addEventListener("resize", () => { if (narrow() !== last) { last = narrow(); draw(); } });

  choose();
  if (!at("list")) return;

  // Trials: whatever a model said is put in as text, never as markup.
  const { outcomes, trials, names, letters } = held("trial-data");
  const PAGE = 25;
  let found = trials, shown = 0;
  const made = (tag, name, text) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const stringOf = (trial) => {
    const box = made("div", "string");
    // An event is a letter, with its argument or answer if it has one; a read of one of several has both, as in r3:1.
    const pairs = trial.text.match(/[^\d:]\d*(?::\d+)?/g), kinds = letters[trial.row];
    let read = -1, asked = 0, anchor = 0, plain = "";
    pairs.forEach((pair, place) => {
      if (kinds.reset.includes(pair[0])) anchor = place;
      if (kinds.read === pair[0]) read += 1;
      if (kinds.read !== pair[0] || (trial.asked && !trial.asked.includes(read))) { plain += pair + " "; return; }
      if (plain) { box.append(plain); plain = ""; }
      const outcome = outcomes[trial.outcomes[asked]], answer = trial.answers[asked];
      const text = outcome === "correct" ? pair : answer === null ? pair + "?" : pair + "≠" + answer;
      const chip = made("span", "read o-" + outcome, text);
      const gap = kinds.reset ? `, gap ${place - anchor}` : "";
      chip.title = `read ${read + 1}${gap}: ${outcome}` + (trial.p ? `, probability of ${pair.match(/\d+$/)?.[0]} among the answers ${trial.p[asked]}` : "");
      box.append(chip, " ");
      asked += 1;
    });
    if (plain) box.append(plain);
    return box;
  };
  const card = (trial) => {
    const item = made("li");
    const counts = outcomes.map((name, n) => [name, trial.outcomes.filter((one) => one === n).length]).filter(([, count]) => count);
    item.append(made("div", "head", `${names[trial.row]}, string ${trial.string}${trial.repeat === undefined ? "" : `, repeat ${trial.repeat}`}: ${counts.map(([name, count]) => `${count} ${name}`).join(", ")}`));
    item.append(stringOf(trial));
    if (trial.why) item.append(made("div", "head", trial.why));
    if (trial.said.length) {
      const details = made("details"), only = trial.said.length === 1 && trial.said[0].length <= 400;
      details.open = only;
      details.append(made("summary", "head", trial.said.length === 1 ? "reply" : `${trial.said.length} replies`));
      for (const text of trial.said) details.append(made("pre", "said", text || "(nothing)"));
      item.append(details);
    }
    return item;
  };
  const more = () => {
    at("list").append(...found.slice(shown, shown + PAGE).map(card));
    shown = Math.min(shown + PAGE, found.length);
    at("more").hidden = shown >= found.length;
  };
  const filter = () => {
    const row = at("by-condition").value, outcome = at("by-outcome").value, text = at("by-text").value.trim().toLowerCase();
    const packed = text.replace(/\s+/g, ""), wanted = outcomes.indexOf(outcome);
    found = trials.filter((trial) =>
      (row === "" || trial.row === Number(row)) &&
      (outcome === "" || trial.outcomes.some((one) => outcome === "bad" ? one !== 0 : one === wanted)) &&
      (text === "" || trial.text.includes(packed) || trial.said.some((said) => said.toLowerCase().includes(text)) || (trial.why || "").toLowerCase().includes(text)));
    at("found").textContent = `${found.length.toLocaleString("en")} of ${trials.length.toLocaleString("en")} trials`;
    at("list").replaceChildren();
    shown = 0;
    more();
  };
  for (const id of ["by-condition", "by-outcome", "by-text"]) at(id).addEventListener("input", filter);
  at("more").addEventListener("click", more);
  filter();
})();
