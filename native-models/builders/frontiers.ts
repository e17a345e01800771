import { type ExternalData, type Place, placesOf } from '../onnx/externalData.ts'

type FilePlace = Extract<Place, { file: string }>

interface FileState {
  index: number
  /** by offset */
  places: FilePlace[]
  done: Set<number>
  /** places without a gap before them */
  passed: number
}

/** Up to where each of several files is written without a gap, for threads that read behind it. */
export class Frontiers {
  /** BigInt64 for each file: bytes */
  readonly shared: SharedArrayBuffer
  readonly #bytes: BigInt64Array
  readonly #files = new Map<string, FileState>()

  constructor(files: readonly ExternalData[]) {
    this.shared = new SharedArrayBuffer(files.length * BigInt64Array.BYTES_PER_ELEMENT)
    this.#bytes = new BigInt64Array(this.shared)
    for (const [index, { location, tensors }] of files.entries()) {
      const places = tensors.flatMap(({ form }) => placesOf(form)).filter((place) => 'file' in place)
      places.sort((a, b) => a.offset - b.offset)
      this.#files.set(location, { index, places, done: new Set(), passed: 0 })
    }
  }

  written({ file, offset }: FilePlace): void {
    const state = this.#files.get(file)!
    state.done.add(offset)
    const before = state.passed
    while (state.done.has(state.places[state.passed]?.offset ?? -1)) state.passed++
    if (state.passed === before) return
    const last = state.places[state.passed - 1]!
    Atomics.store(this.#bytes, state.index, BigInt(last.offset + last.length))
    Atomics.notify(this.#bytes, state.index)
  }
}
