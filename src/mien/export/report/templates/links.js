
/* Links both ways: a claim lights its evidence; a piece of evidence lights its spans and the claims that cite it. */
const say = text => { $("#live").textContent = text; };
const clipOf = node => CLIPS.find(c => c.node.contains(node));
const withEvidence = (clip, id) => $$("[data-ev]", clip.node).filter(n => n.dataset.ev === id && !n.matches(".hl"));

function clear() {
  $$(".is-on, .is-cited, .is-citing").forEach(n => n.classList.remove("is-on", "is-cited", "is-citing"));
  $$(".claim-say[aria-pressed=true]").forEach(n => n.setAttribute("aria-pressed", "false"));
  CLIPS.forEach(c => c.spans.length && c.highlight([]));
}

function light(clip, ids) {
  const spans = [];
  for (const id of ids) {
    const at = clip.data.spans[id];
    if (!at) continue;
    spans.push([...at, id]);
    withEvidence(clip, id).forEach(n => n.matches("tr, .mark, .moment") && n.classList.add("is-cited"));
    $$(".panel", clip.node).forEach(n => n.id.endsWith(id) && n.classList.add("is-cited"));
  }
  const whole = clip.data.range[1] - clip.data.range[0];
  const narrow = spans.filter(([s, e]) => e - s < whole);
  clip.highlight(narrow);
  $$(".shots figure", clip.node).forEach(f => narrow.some(([s, e]) => +f.dataset.t >= s - 500 && +f.dataset.t < e + 500) && f.classList.add("is-cited"));
  return spans.length;
}

function inTable(clip) {
  const row = $("tr.is-cited", clip.node), box = $(".evidence .scroll", clip.node);
  if (!row) return;
  $(".evidence", clip.node).open = true;
  box.scrollTop += row.getBoundingClientRect().top - box.getBoundingClientRect().top - 60;
}

function address(id) { try { history.replaceState(null, "", "#" + id); } catch { /* some viewers forbid it for files */ } }

function chooseClaim(id, scroll) {
  const button = document.getElementById(id), clip = button && clipOf(button), claim = clip && clip.data.claims[id];
  if (!claim) return false;
  const again = button.getAttribute("aria-pressed") === "true";
  clear();
  if (again && !scroll) { say("Claim cleared"); return true; }
  if (claim.at[2]) showPerson(clip, claim.at[2], true);
  button.setAttribute("aria-pressed", "true");
  button.closest(".claim").classList.add("is-on");
  const found = light(clip, claim.ev);
  const moment = momentOf(clip, claim);
  if (moment) showMoment(clip, moment);
  inTable(clip);
  address(id);
  say(found + (found === 1 ? " piece" : " pieces") + " of evidence highlighted");
  if (scroll) { button.scrollIntoView({ block: "center", behavior: "instant" }); button.focus({ preventScroll: true }); }
  return true;
}

/* The assessment a claim cites, else the one of the same person that shares most time with it. */
function momentOf(clip, claim) {
  const all = $$(".moment", clip.node).map(m => m.dataset.ev), cited = claim.ev.find(e => all.includes(e));
  if (cited) return cited;
  const [start, end, who] = claim.at;
  const shared = id => { const [s, e, track] = clip.data.spans[id]; return who && track && who !== track ? 0 : Math.min(e, end) - Math.max(s, start); };
  return all.filter(id => shared(id) > 0).sort((a, b) => shared(b) - shared(a))[0];
}

function chooseEvidence(id, from, scroll) {
  const clip = CLIPS.find(c => c.data.spans[id] && (!from || c.node.contains(from))) || CLIPS.find(c => c.data.spans[id]);
  if (!clip) return false;
  clear();
  if (clip.data.spans[id][2]) showPerson(clip, clip.data.spans[id][2], true);
  light(clip, [id]);
  const citing = Object.entries(clip.data.claims).filter(([, c]) => c.ev.includes(id));
  citing.forEach(([key]) => document.getElementById(key).closest(".claim").classList.add("is-citing"));
  showMoment(clip, id);
  inTable(clip);
  say("Evidence highlighted; cited by " + citing.length + (citing.length === 1 ? " claim" : " claims"));
  if (scroll) {
    const target = withEvidence(clip, id).find(n => n.matches("tr, .moment")) || $$(".panel", clip.node).find(n => n.id.endsWith(id));
    if (target) target.scrollIntoView({ block: "center", behavior: "instant" });
  }
  return true;
}

function showMoment(clip, id) {
  const all = $$(".moment", clip.node), at = all.findIndex(m => m.dataset.ev === id);
  if (at < 0) return;
  all.forEach((m, i) => { m.hidden = i !== at; });
  $$(".lane-moment .mark", clip.node).forEach(m => m.classList.toggle("is-shown", m.dataset.ev === id));
  $(".pager-at", clip.node).textContent = " " + (at + 1) + " of " + all.length + " ";
}

function stepMoment(clip, step) {
  const all = $$(".moment", clip.node).filter(m => clip.person === "*" || !clip.person || !m.dataset.track || m.dataset.track === clip.person);
  const at = all.findIndex(m => !m.hidden), next = all[Math.max(0, Math.min(all.length - 1, at + step))];
  if (next) showMoment(clip, next.dataset.ev);
}

function showPerson(clip, track, onlyIfHidden) {
  const group = $(".people", clip.node);
  if (!group || (onlyIfHidden && (clip.person === "*" || clip.person === track))) return;
  if (!$$("button", group).some(b => b.dataset.person === track)) return;
  clip.person = track;
  $$("button", group).forEach(b => b.setAttribute("aria-pressed", String(b.dataset.person === track)));
  $$(".panel, .lane, .claim, .evidence tr[data-track]", clip.node).forEach(n => { n.hidden = track !== "*" && !!n.dataset.track && n.dataset.track !== track && peopleOf(clip).has(n.dataset.track); });
  const moment = $$(".moment", clip.node).find(m => !m.hidden);
  if (moment && track !== "*" && moment.dataset.track && moment.dataset.track !== track) {
    const mine = $$(".moment", clip.node).filter(m => m.dataset.track === track);
    const best = mine.find(m => "key" in m.dataset) || mine[0];
    if (best) showMoment(clip, best.dataset.ev);
  }
  clip.resize();
}

const peopleOf = clip => new Set($$(".people button", clip.node).map(b => b.dataset.person));

function follow() {
  const id = decodeURIComponent(location.hash.slice(1)), node = id && document.getElementById(id);
  if (!node) return;
  if (node.matches(".claim-say")) chooseClaim(id, true);
  else if (node.matches("tr[data-ev], .moment")) chooseEvidence(node.dataset.ev, node, true);
}

CLIPS.forEach(clip => {
  const group = $(".people", clip.node), pager = $(".pager", clip.node), key = $(".moment[data-key]", clip.node);
  if (group) {
    group.hidden = false;
    showPerson(clip, (key && peopleOf(clip).has(key.dataset.track) ? key.dataset.track : $("button", group).dataset.person), false);
  }
  if (pager) pager.hidden = $$(".moment", clip.node).length < 2;
  if (key) showMoment(clip, key.dataset.ev);
});

document.addEventListener("click", event => {
  const node = event.target.closest("[data-claim], [data-ev], [data-person], [data-step]");
  if (!node) return;
  const clip = clipOf(node), link = node.matches("a");
  if (node.dataset.claim) { if (chooseClaim(node.dataset.claim, link) && link) event.preventDefault(); }
  else if (node.dataset.person) showPerson(clip, node.dataset.person, false);
  else if (node.dataset.step) stepMoment(clip, +node.dataset.step);
  else if (node.matches("tr, .moment")) return;
  else if (chooseEvidence(node.dataset.ev, node, link || node.matches(".hl"))) { if (link) { event.preventDefault(); address(node.getAttribute("href").slice(1)); } }
});
document.addEventListener("keydown", event => {
  if (event.key === "Escape") { clear(); say("Highlights cleared"); }
  const mark = event.target.closest && event.target.closest(".mark[data-ev]");
  if (mark && (event.key === "Enter" || event.key === " ")) { event.preventDefault(); chooseEvidence(mark.dataset.ev, mark, false); }
});
addEventListener("hashchange", follow);
follow();
