import { decodeUtf8LikeSentencePiece } from './bytes.ts'
import { pieceKind, type SentencePieceModel } from './sentencePieceModel.ts'

const space = '\u2581' // SentencePiece's visible space

interface Symbol {
  text: string
  previous: number
  next: number
  frozen: boolean
}

interface Merge {
  left: number
  right: number
  score: number
  /** length of both texts when the merge was found: stale once either changed */
  length: number
}

/** SentencePiece's BPE: the same ids for the same text, the same text for the same ids. */
export class SentencePieceBpe {
  readonly model: SentencePieceModel
  private readonly idOfPiece = new Map<string, number>() // normal, user-defined, unused
  private readonly idOfReserved = new Map<string, number>() // unknown, control, byte
  private readonly idOfByte = new Map<number, number>()
  private readonly userDefined: string[] // longest first

  constructor(model: SentencePieceModel) {
    this.model = model
    model.pieces.forEach(({ text, kind }, id) => {
      const plain = kind === pieceKind.normal || kind === pieceKind.userDefined || kind === pieceKind.unused
      const table = plain ? this.idOfPiece : this.idOfReserved
      if (!table.has(text)) table.set(text, id)
      const byte = kind === pieceKind.byte ? /^<0x([0-9A-F]{2})>$/.exec(text) : null
      if (byte) this.idOfByte.set(Number.parseInt(byte[1]!, 16), id)
    })
    this.userDefined = model.pieces
      .filter(({ kind }) => kind === pieceKind.userDefined)
      .map(({ text }) => text)
      .sort((a, b) => b.length - a.length)
  }

  /**
   * Ids of a text.
   * @param addDummyPrefix overrides the model's own choice
   */
  encode(text: string, addDummyPrefix = this.model.addDummyPrefix): number[] {
    const normalised = this.normalise(text, addDummyPrefix)
    if (normalised === '') return []
    return this.mergeAll(normalised).flatMap((piece) => this.idsOf(piece))
  }

  /**
   * Text of ids; bytes that do not form UTF-8 become U+FFFD one by one, control pieces vanish, ids outside the vocabulary too.
   * @param options.stripsLeadingSpace whether the text's first space is the dummy prefix
   * @param options.dropsFirstSpace takes a space off the first piece before anything else
   */
  decode(ids: readonly number[], options: { stripsLeadingSpace?: boolean; dropsFirstSpace?: boolean } = {}): string {
    let text = ''
    let bytes: number[] = []
    let strips = options.stripsLeadingSpace ?? (this.model.addDummyPrefix || this.model.removeExtraWhitespaces)
    const flush = () => {
      if (bytes.length > 0) text += decodeUtf8LikeSentencePiece(bytes)
      bytes = []
    }
    for (const [index, id] of ids.entries()) {
      const piece = this.model.pieces[id]
      if (!piece || piece.kind === pieceKind.control) continue
      if (piece.kind === pieceKind.byte) {
        bytes.push(Number.parseInt(piece.text.slice(3, 5), 16))
        continue
      }
      flush()
      if (piece.kind === pieceKind.unknown) {
        text += this.model.unkSurface
        continue
      }
      let surface = piece.text
      if (index === 0 && options.dropsFirstSpace && surface.startsWith(space)) surface = surface.slice(1)
      if (text !== '') strips = false
      if (strips && surface.startsWith(space)) {
        surface = surface.slice(1)
        strips = this.model.removeExtraWhitespaces
      }
      text += surface.replaceAll(space, ' ')
    }
    flush()
    return text
  }

  private normalise(text: string, addDummyPrefix: boolean): string {
    let plain = text.toWellFormed()
    if (this.model.removeExtraWhitespaces)
      plain = plain.replaceAll(space, ' ').replace(/ {2,}/g, ' ').replace(/^ | $/g, '')
    if (plain === '') return ''
    return (addDummyPrefix ? space : '') + plain.replaceAll(' ', space)
  }

  /** Best score first; among equals the leftmost, as SentencePiece's agenda does. */
  private mergeAll(text: string): string[] {
    const symbols = this.split(text)
    const heap: Merge[] = []
    const parts = new Map<string, [string, string]>() // how an unused piece came to be
    const propose = (left: number, right: number) => {
      if (left < 0 || right < 0 || symbols[left]!.frozen || symbols[right]!.frozen) return
      const merged = symbols[left]!.text + symbols[right]!.text
      const id = this.idOfPiece.get(merged)
      if (id === undefined) return
      const { score, kind } = this.model.pieces[id]!
      pushHeap(heap, { left, right, score, length: merged.length })
      if (kind === pieceKind.unused) parts.set(merged, [symbols[left]!.text, symbols[right]!.text])
    }
    for (let i = 1; i < symbols.length; i++) propose(i - 1, i)
    for (let best = popHeap(heap); best; best = popHeap(heap)) {
      const left = symbols[best.left]!
      const right = symbols[best.right]!
      if (left.text === '' || right.text === '' || left.text.length + right.text.length !== best.length) continue
      left.text += right.text
      right.text = ''
      left.next = right.next
      if (right.next >= 0) symbols[right.next]!.previous = best.left
      propose(left.previous, best.left)
      propose(best.left, left.next)
    }
    const pieces: string[] = []
    for (let at = 0; at >= 0; at = symbols[at]!.next) this.resegment(symbols[at]!.text, parts, pieces)
    return pieces
  }

  private resegment(piece: string, parts: ReadonlyMap<string, [string, string]>, out: string[]): void {
    const id = this.idOfPiece.get(piece)
    const halves = id !== undefined && this.model.pieces[id]!.kind === pieceKind.unused ? parts.get(piece) : undefined
    if (!halves) out.push(piece)
    else for (const half of halves) this.resegment(half, parts, out)
  }

  private split(text: string): Symbol[] {
    const symbols: Symbol[] = []
    for (let at = 0; at < text.length; ) {
      const known = this.userDefined.find((piece) => text.startsWith(piece, at))
      const part = known ?? String.fromCodePoint(text.codePointAt(at)!)
      symbols.push({ text: part, previous: symbols.length - 1, next: symbols.length + 1, frozen: known !== undefined })
      at += part.length
    }
    symbols.at(-1)!.next = -1
    return symbols
  }

  private idsOf(piece: string): number[] {
    const id = this.idOfReserved.get(piece) ?? this.idOfPiece.get(piece) ?? this.model.unkId
    if (id !== this.model.unkId || !this.model.byteFallback) return [id]
    return Array.from(new TextEncoder().encode(piece), (byte) => this.idOfByte.get(byte) ?? this.model.unkId)
  }
}

function isBetter(a: Merge, b: Merge): boolean {
  return a.score > b.score || (a.score === b.score && a.left < b.left)
}

function pushHeap(heap: Merge[], merge: Merge): void {
  let at = heap.push(merge) - 1
  while (at > 0) {
    const parent = (at - 1) >> 1
    if (!isBetter(merge, heap[parent]!)) break
    heap[at] = heap[parent]!
    at = parent
  }
  heap[at] = merge
}

function popHeap(heap: Merge[]): Merge | undefined {
  const best = heap[0]
  const last = heap.pop()
  if (!best || !last || heap.length === 0) return best
  let at = 0
  for (;;) {
    let child = 2 * at + 1
    if (child >= heap.length) break
    if (child + 1 < heap.length && isBetter(heap[child + 1]!, heap[child]!)) child++
    if (!isBetter(heap[child]!, last)) break
    heap[at] = heap[child]!
    at = child
  }
  heap[at] = last
  return best
}
