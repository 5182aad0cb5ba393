// A video that the server makes, and the link that keeps it.
import { h } from "./dom.js"
import { bytesOf, lines } from "./server.js"

/** make(path, moved) asks for it and says how far it is, from 0 to 1; forget() takes it away, or ends what is asked for. */
export function film({ id, name }) {
  const video = h("video", { id, controls: true, loop: true, autoplay: true, playsinline: true, hidden: true })
  const link = h("a", { class: "button", hidden: true, download: name }, "Download the video")
  let asked = null
  video.muted = true

  async function make(path, moved) {
    const { signal } = (asked = new AbortController())
    moved(0)
    try {
      for await (const line of lines(path, { method: "POST", signal })) {
        if (signal.aborted) return
        if (line.of) moved(line.step / line.of)
        if (line.video) show(URL.createObjectURL(new Blob([bytesOf(line.video)], { type: "video/mp4" })))
      }
    } catch (error) {
      if (error.name !== "AbortError") throw error
    }
  }

  function show(url) {
    if (video.src) URL.revokeObjectURL(video.src)
    if (url) video.src = link.href = url
    else video.removeAttribute("src")
    video.hidden = link.hidden = !url
  }

  function forget() {
    asked?.abort()
    show("")
  }

  return { video, link, make, forget }
}
