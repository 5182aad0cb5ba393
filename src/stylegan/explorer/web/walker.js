// The endless walk: a picture after the other, as fast as they come.
import { icon } from "./dom.js"

export class Walker {
  constructor(app) {
    this.app = app
    this.running = false
    this.seconds = 4 // from one seed to the next
  }

  toggle() {
    if (this.running) this.stop()
    else this.start()
  }

  start() {
    this.running = true
    this.show()
    let last = performance.now()
    this.app.drawn = () => {
      if (!this.running) return
      const now = performance.now()
      const step = Math.min(0.25, (now - last) / 1000 / this.seconds)
      last = now
      // never faster than the screen
      requestAnimationFrame(() => this.running && this.app.state.set({ along: this.app.state.values.along + step }, true))
    }
    this.app.drawn()
  }

  stop() {
    if (!this.running) return
    this.running = false
    this.app.drawn = null
    this.show()
    this.app.state.set({})
  }

  show() {
    const { player } = this.app.stage
    player.replaceChildren(icon(this.running ? "pause" : "play"))
    player.setAttribute("aria-label", this.running ? "stop the walk (space)" : "endless walk (space)")
    player.setAttribute("aria-pressed", this.running)
  }
}
