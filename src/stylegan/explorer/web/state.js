// What a user has set: the values behind the picture, as they stand in the address; undo and redo.

const LISTS = ["mix", "layers", "noises", "on", "hold"]
const RANGES = ["coarse", "middle", "fine"]

/** The values of a picture that nobody has changed. */
export function defaults(about) {
  return {
    seed: 0,
    class: about.classes.length ? 0 : null,
    psi: about.psi,
    cutoff: about.cutoff,
    noise: "own",
    nseed: 0,
    found: "",
    along: 0,
    b: 1,
    mix: [0, 0, 0],
    layers: [],
    noises: [],
    on: [...RANGES],
    hold: [],
    edit: {},
  }
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b)
const short = (x) => String(+(+x).toFixed(4))

/** Values as they stand in an address: the seed, and what is not as it was at the beginning. */
export function toQuery(values, about) {
  const usual = defaults(about)
  const query = new URLSearchParams({ model: about.key, seed: values.seed })
  for (const [name, value] of Object.entries(values)) {
    if (name === "seed" || name === "edit" || name === "hold" || same(value, usual[name])) continue
    query.set(name, Array.isArray(value) ? value.map((x) => (typeof x === "number" ? short(x) : x)).join(",") : value)
  }
  for (const name of values.hold) query.append("hold", name)
  for (const name of about.directions) if (values.edit[name]) query.set(`edit.${name}`, short(values.edit[name]))
  return query.toString()
}

/** The values of an address; what is damaged or missing is as at the beginning. */
export function fromQuery(text, about) {
  const query = new URLSearchParams(text)
  const values = defaults(about)
  for (const name of Object.keys(values)) {
    const said = query.get(name)
    if (said === null || name === "edit" || name === "hold") continue
    if (LISTS.includes(name)) {
      const parts = said ? said.split(",") : []
      const numbers = parts.map(Number).every(Number.isFinite) ? parts.map(Number) : values[name]
      values[name] = name === "on" ? parts.filter((part) => RANGES.includes(part)) : numbers.slice(0, Math.max(3, about.layers.length))
    } else if (typeof values[name] === "number") {
      const most = { seed: 2 ** 32 - 1, nseed: 2 ** 32 - 1, b: 2 ** 32 - 1, class: about.classes.length - 1, cutoff: about.layers.length }[name]
      const fits = most === undefined ? Number.isFinite(+said) && (name !== "along" || +said >= 0) : /^\d+$/.test(said) && +said <= most
      if (said !== "" && fits) values[name] = +said
    } else if (values[name] !== null) {
      values[name] = said
    }
  }
  if (values.mix.length !== 3) values.mix = [0, 0, 0]
  values.hold = query.getAll("hold").filter((name) => about.directions.includes(name))
  for (const name of about.directions) {
    const strength = +query.get(`edit.${name}`)
    if (Number.isFinite(strength) && strength !== 0) values.edit[name] = strength
  }
  return values
}

/** Fires "change" with detail {live}: live while a slider moves, and until it has been let go. */
export class State extends EventTarget {
  constructor() {
    super()
    this.about = null
    this.view = { tab: "seeds", a: "", split: 0.5, points: "", mask: "" }
    this.past = []
    this.future = []
  }

  /** Begin with a model, and with an address. */
  begin(about, text) {
    this.about = about
    this.values = fromQuery(text, about)
    this.settled = structuredClone(this.values)
    const fit = (values) => fromQuery(toQuery(values, about), about) // another model has other classes, layers, directions
    this.past = this.past.map(fit)
    this.future = this.future.map(fit)
    this.write()
  }

  get query() {
    return toQuery(this.values, this.about)
  }

  set(changes, live = false) {
    Object.assign(this.values, structuredClone(changes))
    if (!live) this.settle()
    this.dispatchEvent(new CustomEvent("change", { detail: { live } }))
  }

  /** Make what is set now a step that can be undone. */
  settle() {
    if (same(this.values, this.settled)) return
    this.past.push(this.settled)
    if (this.past.length > 500) this.past.shift()
    this.future = []
    this.settled = structuredClone(this.values)
    this.write()
  }

  undo() {
    this.move(this.past, this.future)
  }

  redo() {
    this.move(this.future, this.past)
  }

  move(from, to) {
    if (!from.length) return
    to.push(this.settled)
    this.settled = from.pop()
    this.values = structuredClone(this.settled)
    this.write()
    this.dispatchEvent(new CustomEvent("change", { detail: { live: false } }))
  }

  see(changes) {
    Object.assign(this.view, changes)
    this.write()
  }

  /** Put it all into the address, so that a reload and whoever is given it see the same. */
  write() {
    const query = new URLSearchParams(toQuery(this.settled, this.about))
    if (this.view.tab !== "seeds") query.set("tab", this.view.tab)
    if (this.view.points) query.set("points", this.view.points)
    if (this.view.mask) query.set("mask", this.view.mask)
    if (this.view.a) {
      query.set("A", this.view.a)
      query.set("split", short(this.view.split))
    }
    clearTimeout(this.later)
    try {
      history.replaceState(null, "", `#${query}`)
    } catch {
      this.later = setTimeout(() => this.write(), 1000) // some browsers allow so many in some seconds
    }
  }

  /** What of the page is not in the picture. */
  readView(text) {
    const query = new URLSearchParams(text)
    const split = +(query.get("split") ?? 0.5)
    this.view = {
      tab: query.get("tab") || "seeds",
      a: query.get("A") || "",
      split: split >= 0 && split <= 1 ? split : 0.5,
      points: query.get("points") || "",
      mask: query.get("mask") || "",
    }
  }
}
