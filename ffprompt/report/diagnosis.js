"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  if (!at("read-heads")) return;
  const { runs, shades } = JSON.parse(at("diagnosis-data").textContent);
  for (const mark of document.querySelectorAll(".role-of")) mark.style.setProperty("--shade", shades[mark.dataset.role]);
  const LEAST = 30;  // thousandths of attention, below which instructions stand together
  // Every read with what is around it.
  const reads = runs.flatMap((run) => run.reads.map((read) => ({ ...read, heads: run.heads[read.condition], name: (runs.length > 1 ? run.label + ", " : "") + run.names[read.condition] })));
  const names = [...new Set(reads.map((read) => read.name))];
  at("read-condition").replaceChildren(...names.map((name) => new Option(name)));
  const first = reads.find((read) => read.wrong);
  if (first) at("read-condition").value = first.name;
  let found = [];
  const made = (tag, text, role) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (role) element.style.setProperty("--shade", shades[role]);
    return element;
  };
  const roleOf = (event, place, read) => event[0] === "w" ? (place === read.governing ? "write" : "stale") : event[0] === "i" ? "ignored" : "answers";
  // Columns: one for an instruction that is looked at, one for several in a row that are not.
  const columnsOf = (read, events, all) => {
    const kept = new Set([read.governing, events.length - 1, ...read.mass.flatMap((head) => head.filter(([, share]) => share >= LEAST).map(([place]) => place))]);
    const columns = [];
    events.forEach((event, place) => {
      const role = roleOf(event, place, read), last = columns.at(-1);
      if (all || kept.has(place)) columns.push({ name: event, from: place, to: place + 1, role });
      else if (last?.role === "rest") Object.assign(last, { name: "…", to: place + 1 });
      else columns.push({ name: event, from: place, to: place + 1, role: "rest" });
    });
    return columns;
  };
  const cell = (share, role) => {
    const one = made("td", share >= 5 ? String(Math.round(share / 10)) : "", role);
    one.style.setProperty("--part", `${Math.round(85 * Math.sqrt(share / 1000))}%`);
    one.title = `${(share / 10).toFixed(1)} %`;
    return one;
  };
  const show = () => {
    const read = found[at("read-choice").selectedIndex];
    if (!read) { at("read-heads").replaceChildren(); at("read-told").textContent = "no such read"; return; }
    const events = read.text.match(/[^\d]\d*/g).slice(0, read.position);
    const columns = columnsOf(read, events, at("read-all").checked);
    at("read-told").textContent = `String ${read.string}, instruction ${read.position + 1}: the write that is asked for is instruction ${read.governing + 1} (${events[read.governing]}), ${read.position - read.governing} before. The model answers ${read.answer}, which is ${read.wrong ? "wrong" : "right"}; probability of ${read.truth} among the answers: ${read.p}.`;
    const head = made("tr");
    head.append(made("th", "head"), made("th", "first token", "first"), made("th", "rest", "rest"));
    for (const one of columns) {
      const title = made("th", one.name, one.role);
      title.append(made("small", one.to - one.from > 1 ? `${one.from + 1}–${one.to}` : String(one.from + 1)));
      if (one.role === "write") title.className = "asked";
      head.append(title);
    }
    const body = made("tbody");
    read.heads.forEach((name, n) => {
      const row = made("tr"), mass = new Map(read.mass[n]);
      row.append(made("th", name), cell(read.first[n] + read.sink[n], "first"), cell(read.rest[n], "rest"));
      for (const one of columns) {
        let share = 0;
        for (let place = one.from; place < one.to; place += 1) share += mass.get(place) ?? 0;
        row.append(cell(share, one.role));
      }
      body.append(row);
    });
    const top = made("thead");
    top.append(head);
    at("read-heads").replaceChildren(top, body);
    at("read-before").disabled = at("read-choice").selectedIndex <= 0;
    at("read-next").disabled = at("read-choice").selectedIndex >= found.length - 1;
  };
  const filter = () => {
    const mine = reads.filter((read) => read.name === at("read-condition").value);
    if (!mine.some((read) => read.wrong)) at("read-kind").value = "right";
    found = mine.filter((read) => read.wrong === (at("read-kind").value === "wrong"));
    at("read-choice").replaceChildren(...found.map((read) => new Option(`string ${read.string}, read ${read.read + 1}`)));
    show();
  };
  const step = (by) => { at("read-choice").selectedIndex += by; show(); };
  at("read-before").addEventListener("click", () => step(-1));
  at("read-next").addEventListener("click", () => step(1));
  at("read-choice").addEventListener("input", show);
  at("read-all").addEventListener("input", show);
  for (const id of ["read-condition", "read-kind"]) at(id).addEventListener("input", filter);
  filter();
})();
