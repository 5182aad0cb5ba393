// Photo: the picture nearest to a photograph, found while one looks; or latents from a file.
import { h, segmented, slider } from "./dom.js"
import { askJson, lines } from "./server.js"

export function photo(app) {
  const { state } = app
  const { about } = state
  const file = h("input", { type: "file", id: "upload", accept: "image/*,.safetensors,.npy", "aria-label": "a photograph, or saved latents" })
  const name = h("span", {}, "Choose a photograph, or saved latents; or drop it here")
  const drop = h("label", { class: "drop" }, file, name)
  drop.ondragover = (event) => (event.preventDefault(), drop.classList.add("over"))
  drop.ondragleave = () => drop.classList.remove("over")
  drop.ondrop = (event) => {
    event.preventDefault()
    drop.classList.remove("over")
    file.files = event.dataTransfer.files
    file.onchange()
  }
  const isLatents = () => /\.(safetensors|npy)$/i.test(file.files[0]?.name ?? "")
  file.onchange = () => {
    name.textContent = file.files[0]?.name ?? "Choose a photograph, or saved latents; or drop it here"
    start.textContent = isLatents() ? "Use these latents" : "Project"
  }
  let space = "w+"
  const spaces = segmented({ id: "space", label: "space", options: [["w+", "w+: closer"], ["w", "w: easier to edit"]], value: space, chosen: (key) => (space = key) })
  let total = 300
  const steps = slider({ id: "steps", label: "Steps", min: 20, max: 1000, step: 20, value: total, moved: (x) => (total = x), settled: (x) => (total = x) })
  const face = h("input", { type: "checkbox", id: "face", checked: about.finds_faces && about.face })
  const progress = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "steps done" })
  const says = h("p", { id: "progress", class: "hint", "aria-live": "polite" })
  const target = h("img", { alt: "the photograph, as the model could have drawn it", id: "photograph", hidden: true })
  const start = h("button", { type: "button", class: "main", id: "project", onclick: project }, "Project")
  const stop = h("button", { type: "button", id: "stop", disabled: true, onclick: () => running?.abort() }, "Stop")
  let running = null // what is asked for, until it has been answered

  /** Show what was found, and nothing else in the picture. */
  const show = (found, live) => {
    if (state.about !== about) return // another model was chosen meanwhile
    const { class: label } = state.values
    state.set({ class: label, found, noise: "own", along: 0, mix: [0, 0, 0], layers: [], noises: [], edit: {} }, live)
  }

  async function project() {
    const chosen = file.files[0]
    const { class: label } = state.values
    const query = new URLSearchParams({ model: about.key, name: chosen?.name ?? "", ...(label === null ? {} : { class: label }) })
    const { signal } = (running = new AbortController())
    start.disabled = true
    try {
      if (isLatents()) {
        const { found } = await askJson(`latents?${query}`, { method: "POST", body: chosen, signal })
        show(found, false)
        app.keepFound(found)
        says.textContent = `${chosen.name} is the picture now.`
        return
      }
      stop.disabled = false
      progress.hidden = false
      for (const [key, value] of Object.entries({ space, steps: Math.round(total), face: face.checked ? 1 : 0 })) query.set(key, value)
      says.textContent = "looking for where to begin"
      for await (const line of lines(`photograph?${query}`, { method: "POST", body: chosen ?? "", signal })) {
        if (line.photograph) {
          target.src = line.photograph
          target.hidden = false
        }
        if (line.found) {
          progress.value = line.step / line.of
          says.textContent = `step ${line.step} of ${line.of}, PSNR ${line.psnr.toFixed(1)} dB`
          show(line.found, line.step < line.of)
        }
      }
    } catch (error) {
      if (error.name !== "AbortError") {
        says.textContent = ""
        app.say(error)
      }
    } finally {
      if (state.about === about) {
        state.settle()
        if (state.values.found) app.keepFound(state.values.found)
      }
      start.disabled = false
      stop.disabled = true
      progress.hidden = true
      running = null
    }
  }

  return {
    element: h("div", { class: "tab" },
      h("h2", {}, "Your photograph"),
      h("p", { class: "hint" }, "The nearest picture that this model can draw, to mix, to edit and to walk from. It stays on this server, in memory, as long as it runs."),
      drop, h("div", { class: "row" }, h("span", {}, "Space"), spaces), steps,
      about.finds_faces ? h("label", { class: "row" }, face, "Find the face in it and align it as FFHQ's are") : null,
      h("div", { class: "row" }, start, stop), progress, says, target),
    close() {
      running?.abort()
    },
  }
}
