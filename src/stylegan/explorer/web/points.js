// What lies over the picture while points are dragged: pairs of pins, and the mask of what may change.
import { h } from "./dom.js"

const MOST = 20 // pairs
const LONGEST = 4000 // characters of a mask in an address
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }
const VEIL = 0xa87a7676 // over what must stay: alpha, blue, green, red

/**
 * Pairs are {x, y, to: {x, y} or null}, in pixels of the picture, (0, 0) the middle of the first one; the last pair may
 * still want its target. changed() is called after each change by the user, full(most) where there are too many pairs.
 */
export class Points {
  constructor({ width, height, changed, full }) {
    Object.assign(this, { width, height, changed, full })
    this.pairs = []
    this.mode = "points"
    this.brush = Math.max(1, width / 10) // radius
    this.locked = false // while it is dragged
    this.letGo = null // ends what follows the pointer
    this.painted = new Uint8Array(width * height)
    this.veil = h("canvas", { width, height })
    this.lines = document.createElementNS("http://www.w3.org/2000/svg", "svg")
    this.pins = h("div")
    this.cursor = h("div", { class: "cursor" })
    this.at = { x: Math.round(width / 2), y: Math.round(height / 2) } // where keys are
    this.element = h("div", { class: "points", tabindex: "0", role: "application",
      "aria-label": "the picture: arrow keys move, Enter sets a point or paints, Escape takes back" },
      this.veil, this.lines, this.pins, this.cursor)
    this.element.onpointerdown = (event) => this.press(event)
    this.element.onpointermove = (event) => this.hover(event)
    this.element.onpointerleave = () => this.cursor.classList.remove("seen")
    this.element.onkeydown = (event) => this.key(event)
    this.element.onfocus = () => this.aim(this.at)
    this.element.ondblclick = (event) => event.stopPropagation()
  }

  /** All pairs that have a target. */
  get whole() {
    return this.pairs.filter((pair) => pair.to)
  }

  get hasMask() {
    return this.painted.includes(1)
  }

  /** The mask as rectangles [left, top, right, bottom], one for each run of a row; null where nothing is painted. */
  get mask() {
    if (!this.hasMask) return null
    const { width, height, painted } = this
    const runs = []
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        if (!painted[y * width + x]) continue
        const left = x
        while (x < width && painted[y * width + x]) x++
        runs.push([left, y, x, y + 1])
      }
    }
    return runs
  }

  /** The mask for an address: how many pixels in a row are not painted, then are, then are not, ...; "" where that is long. */
  get maskText() {
    const { painted } = this
    const lengths = []
    for (let i = 0, value = 0; i < painted.length; value = 1 - value) {
      const start = i
      while (i < painted.length && painted[i] === value) i++
      lengths.push((i - start).toString(36))
    }
    const text = this.hasMask ? lengths.join(".") : ""
    return text.length <= LONGEST ? text : ""
  }

  /** Replace the mask by that of a text. */
  readMask(text) {
    this.painted.fill(0)
    let i = 0
    for (const [number, length] of text.split(".").map((each) => parseInt(each, 36) || 0).entries()) {
      if (number % 2) this.painted.fill(1, i, i + length)
      i += length
    }
    this.showMask()
  }

  /** The pairs that have a target, as `stylegan drag` takes them: "20,30:26,30 8,8:9,9". */
  get text() {
    return this.whole.map(({ x, y, to }) => `${x},${y}:${to.x},${to.y}`).join(" ")
  }

  /** Replace the pairs by those of a text; what is none is left out. */
  read(text) {
    const numbers = text.split(" ").map((each) => each.split(/[,:]/).map(parseFloat))
    const right = numbers.filter((each) => each.length === 4 && each.every(Number.isFinite)).slice(0, MOST)
    this.set(right.map(([x, y, toX, toY]) => ({ ...this.inside({ x, y }), to: this.inside({ x: toX, y: toY }) })))
  }

  /** Replace the pairs. */
  set(pairs) {
    this.pairs = structuredClone(pairs)
    this.show()
  }

  remove(i) {
    this.pairs.splice(i, 1)
    this.show()
    this.changed()
  }

  clearMask() {
    this.painted.fill(0)
    this.showMask()
    this.changed()
  }

  setMode(mode) {
    this.mode = mode
    this.element.dataset.mode = mode
    this.aim(this.at)
  }

  lock(locked) {
    this.locked = locked
    this.element.classList.toggle("locked", locked)
  }

  // --- the pointer

  place(event) {
    const box = this.element.getBoundingClientRect()
    return this.inside({ x: ((event.clientX - box.left) / box.width) * this.width - 0.5, y: ((event.clientY - box.top) / box.height) * this.height - 0.5 })
  }

  /** To half pixels, within the picture. */
  inside({ x, y }) {
    const to = (value, most) => Math.min(most, Math.max(0, Math.round(2 * value) / 2))
    return { x: to(x, this.width - 1), y: to(y, this.height - 1) }
  }

  press(event) {
    if (this.locked || event.button > 0 || this.letGo) return
    const start = this.place(event)
    const pin = event.target.closest?.(".pin")
    event.preventDefault()
    ;(pin ?? this.element).focus({ preventScroll: true })
    let moved
    if (this.mode !== "points") moved = this.brushFrom(start)
    else if (pin) {
      const point = this.pinned(pin)
      moved = (to) => Object.assign(point, to)
    } else if (!(moved = this.begin(start, event))) return
    this.follow(event, moved)
  }

  /** Set a target, or a point; what is to follow the pointer until it is let go. */
  begin(start, event) {
    const open = this.pairs.at(-1)
    if (open && !open.to) {
      open.to = start
      this.show()
      return (to) => Object.assign(open.to, to)
    }
    if (this.pairs.length >= MOST) {
      this.full(MOST)
      return null
    }
    const pair = { ...start, to: null }
    this.pairs.push(pair)
    this.show()
    return (to, now) => {
      const far = Math.hypot(now.clientX - event.clientX, now.clientY - event.clientY) > 8
      if (far || pair.to) pair.to = to
    }
  }

  follow(event, moved) {
    const { element } = this
    const id = event.pointerId
    const move = (now) => {
      if (now.pointerId !== id) return
      moved(this.place(now), now)
      if (this.mode === "points") this.show()
    }
    const end = (now) => now.pointerId === id && this.letGo()
    const listeners = [["pointermove", move], ["pointerup", end], ["pointercancel", end]]
    this.letGo = () => {
      for (const [name, does] of listeners) element.removeEventListener(name, does)
      this.letGo = null
      this.changed()
    }
    element.setPointerCapture(id)
    for (const [name, does] of listeners) element.addEventListener(name, does)
    this.changed()
  }

  hover(event) {
    if (event.pointerType !== "touch" || this.letGo) this.aim(this.place(event), this.mode !== "points")
  }

  // --- keys

  key(event) {
    const pin = event.target.closest?.(".pin")
    const by = ARROWS[event.key]
    const step = (event.shiftKey ? 8 : 1) * Math.max(1, this.width / 128)
    const move = (from) => this.inside({ x: from.x + by[0] * step, y: from.y + by[1] * step })
    if (this.locked) return
    if (by && pin) {
      const point = this.pinned(pin)
      Object.assign(point, move(point))
    } else if (by) {
      return this.done(event, () => this.aim(move(this.at)))
    } else if (pin && (event.key === "Delete" || event.key === "Backspace")) {
      event.preventDefault()
      event.stopPropagation()
      this.element.focus()
      return this.remove(+pin.dataset.i)
    } else if (!pin && (event.key === "Enter" || event.key === " ")) {
      if (this.mode === "points") this.begin({ ...this.at }, event)
      else this.brushFrom(this.at)
    } else if (event.key === "Escape" && this.pairs.length && !this.pairs.at(-1).to) {
      this.pairs.pop()
    } else {
      return
    }
    this.done(event, () => {
      this.show()
      this.changed()
    })
  }

  done(event, then) {
    event.preventDefault()
    event.stopPropagation()
    then()
  }

  /** Show where keys are, or the brush. */
  aim(at, seen = this.element.matches(":focus-visible")) {
    this.at = at
    const size = this.mode === "points" ? 0 : (200 * this.brush) / this.width
    const { style } = this.cursor
    style.left = `${(100 * (at.x + 0.5)) / this.width}%`
    style.top = `${(100 * (at.y + 0.5)) / this.height}%`
    style.width = size ? `${size}%` : ""
    this.cursor.classList.toggle("brush", size > 0)
    this.cursor.classList.toggle("seen", seen)
  }

  // --- the mask

  /** Paint, or erase, a first spot; the function that goes on from there. */
  brushFrom(start) {
    let last = start
    const to = (next) => {
      const steps = Math.max(1, Math.ceil(Math.hypot(next.x - last.x, next.y - last.y) / Math.max(0.5, this.brush / 3)))
      for (let i = 1; i <= steps; i++) this.spot(last.x + ((next.x - last.x) * i) / steps, last.y + ((next.y - last.y) * i) / steps)
      last = next
      this.showMask()
    }
    to(start)
    return to
  }

  spot(x, y) {
    const { brush, width, height, painted } = this
    const value = this.mode === "paint" ? 1 : 0
    for (let row = Math.max(0, Math.ceil(y - brush)); row <= Math.min(height - 1, y + brush); row++) {
      const half = Math.sqrt(Math.max(0, brush * brush - (row - y) ** 2))
      const [left, right] = [Math.max(0, Math.ceil(x - half)), Math.min(width - 1, Math.floor(x + half))]
      if (left <= right) painted.fill(value, row * width + left, row * width + right + 1)
    }
  }

  showMask() {
    const context = this.veil.getContext("2d")
    const image = context.createImageData(this.width, this.height)
    const pixels = new Uint32Array(image.data.buffer)
    if (this.hasMask) for (let i = 0; i < pixels.length; i++) pixels[i] = this.painted[i] ? 0 : VEIL
    context.putImageData(image, 0, 0)
  }

  // --- what is seen

  pinned(pin) {
    const pair = this.pairs[+pin.dataset.i]
    return pin.classList.contains("target") ? pair.to : pair
  }

  /** Draw the pins where they are; those that are there stay the same elements, so that they keep the focus. */
  show() {
    const percent = ({ x, y }) => [(100 * (x + 0.5)) / this.width, (100 * (y + 0.5)) / this.height].map((value) => `${value}%`)
    const wanted = this.pairs.flatMap((pair, i) => [[pair, i, "handle"], [pair.to, i, "target"]]).filter(([place]) => place)
    const there = new Map([...this.pins.children].map((pin) => [pin.dataset.key, pin]))
    const pins = wanted.map(([place, i, kind]) => {
      const pin = there.get(`${kind}${i}`) ?? h("button", { type: "button", class: `pin ${kind}`, "data-key": `${kind}${i}`, "data-i": i }, String(i + 1))
      pin.setAttribute("aria-label", `${kind === "handle" ? "point" : "target of point"} ${i + 1}, at ${place.x}, ${place.y}; arrow keys move it, Delete removes it`)
      ;[pin.style.left, pin.style.top] = percent(place)
      return pin
    })
    for (const pin of [...this.pins.children]) if (!pins.includes(pin)) pin.remove()
    for (const pin of pins) if (pin.parentNode !== this.pins) this.pins.append(pin)
    const pixel = this.element.clientWidth / this.width
    const apart = this.whole.filter(({ x, y, to }) => Math.hypot(to.x - x, to.y - y) * pixel > 28) // there is room for an arrow
    const lines = apart.map((pair) => {
      const [[x1, y1], [x2, y2]] = [percent(pair), percent(pair.to)]
      const ends = `x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"`
      return `<line class="under" ${ends}/><line class="over" ${ends} marker-end="url(#tip)"/>`
    })
    this.lines.innerHTML = `<defs><marker id="tip" markerUnits="userSpaceOnUse" markerWidth="12" markerHeight="12" refX="21" refY="6" ` +
      `orient="auto"><path d="M1 1 11 6 1 11z" fill="white" stroke="rgb(0 0 0 / 0.55)"/></marker></defs>${lines.join("")}`
  }
}
