import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { GromaError } from '../errors.ts'
import type { GromaConfig } from '../groma/config.ts'
import type { QueryPart } from '../groma/prompt.ts'
import { readSpecialTokens, type SpecialTokens } from '../groma/specialTokens.ts'
import { SentencePieceBpe } from './sentencePiece.ts'
import { parseSentencePieceModel } from './sentencePieceModel.ts'
import { createStreamDecoder, type StreamDecoder } from './streamDecoder.ts'

/** transformers 4.32's slow LlamaTokenizer with Groma's added tokens. */
export interface GromaTokenizer {
  tokens: SpecialTokens
  /** base pieces and added tokens: ids are below this */
  vocabSize: number
  /** Ids of a text of ours: special strings in it become special tokens; starts with `<s>` where the files say so. */
  encode(text: string, options?: { addBos?: boolean }): number[]
  /** Ids of a prompt put together from trusted text and a person's words, which never make special tokens. */
  encodeParts(parts: readonly QueryPart[], options?: { addBos?: boolean }): number[]
  /** Ids of a person's words alone, without `<s>`. */
  encodeUserText(text: string): number[]
  /** Text of ids, special tokens shown; ids outside the vocabulary vanish. */
  decode(ids: readonly number[]): string
  /** Decodes token by token, holding back half characters. */
  createStreamDecoder(): StreamDecoder
}

const tokenText = z
  .union([z.string(), z.object({ content: z.string() })])
  .transform((value) => (typeof value === 'string' ? value : value.content))
const configSchema = z.looseObject({
  legacy: z.boolean().nullish(), // absent means true in 4.32
  add_bos_token: z.boolean().default(true),
  add_eos_token: z.boolean().default(false),
  clean_up_tokenization_spaces: z.boolean().default(false), // LlamaTokenizer's own default
  bos_token: tokenText.nullish(),
  eos_token: tokenText.nullish(),
  unk_token: tokenText.nullish(),
})
const addedTokensSchema = z.record(z.string().min(1).max(256), z.number().int().min(0).max(10_000_000))

const visibleSpace = '\u2581'
// Python's str.strip, which is not quite JavaScript's trim
const pythonWhitespace = '[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+'
const leadingWhitespace = new RegExp(`^${pythonWhitespace}`)
const trailingWhitespace = new RegExp(`${pythonWhitespace}$`)

/**
 * Loads the tokenizer files of a checkpoint folder.
 * @throws TOKENIZER_INVALID, naming the file
 */
export async function loadTokenizer(dir: string): Promise<GromaTokenizer> {
  const model = parseSentencePieceModel(await readBytes(dir, 'tokenizer.model'), 'tokenizer.model')
  const config = parseJson(await readBytes(dir, 'tokenizer_config.json'), 'tokenizer_config.json', configSchema)
  const added = parseJson(await readBytes(dir, 'added_tokens.json'), 'added_tokens.json', addedTokensSchema)
  return makeTokenizer(new SentencePieceBpe(model), config, new Map(Object.entries(added)))
}

/**
 * @param dir the folder of both, for messages
 * @throws GromaError TOKENIZER_INVALID when the tokens are not those that a model was made for
 */
export function requireFit(
  config: Pick<GromaConfig, 'vocabSize' | 'maxRegions'>,
  { tokens, vocabSize }: GromaTokenizer,
  dir: string,
): void {
  if (vocabSize > config.vocabSize) {
    const reason = `the tokenizer has ${vocabSize} tokens, the model only ${config.vocabSize}`
    throw new GromaError('TOKENIZER_INVALID', `${dir}: ${reason}`)
  }
  if (tokens.regions.length < config.maxRegions) {
    const reason = `the tokenizer names ${tokens.regions.length} regions, the model uses ${config.maxRegions}`
    throw new GromaError('TOKENIZER_INVALID', `${dir}: ${reason}`)
  }
}

function makeTokenizer(
  bpe: SentencePieceBpe,
  config: z.infer<typeof configSchema>,
  addedTokens: ReadonlyMap<string, number>,
): GromaTokenizer {
  const { pieces } = bpe.model
  const legacy = config.legacy ?? true
  const baseId = (text: string): number => {
    const id = addedTokens.get(text) ?? pieces.findIndex((piece) => piece.text === text)
    if (id < 0) throw new GromaError('TOKENIZER_INVALID', `tokenizer_config.json: ${text} is not in the vocabulary`)
    return id
  }
  const base = {
    bos: baseId(config.bos_token ?? '<s>'),
    eos: baseId(config.eos_token ?? '</s>'),
    unk: baseId(config.unk_token ?? '<unk>'),
  }
  const textOfAdded = new Map([...addedTokens].map(([text, id]) => [id, text]))
  const textOfBase = new Map(
    Object.values(base)
      .filter((id) => !textOfAdded.has(id))
      .map((id) => [id, pieces[id]!.text]),
  ) // prettier-ignore
  const splitters = makeSplitters([
    ...[...addedTokens].map(([text, id]) => ({ text, id, strips: true })),
    ...[...textOfBase].map(([id, text]) => ({ text, id, strips: false })),
  ])
  const vocabSize = Math.max(pieces.length, ...[...addedTokens.values()].map((id) => id + 1))

  // `legacy: false` encodes without a dummy prefix; text that starts with a space does so behind "<unk>", whose pieces go
  const unkText = pieces[base.unk]!.text
  const unkPieces = bpe.encode(unkText, false)
  const encodePiece = (text: string): number[] => {
    if (legacy) return bpe.encode(text)
    if (!/^[\u2581 ]/.test(text)) return bpe.encode(text, false)
    return bpe.encode(unkText + text, false).slice(unkPieces.length)
  }

  const encodeParts = (parts: readonly QueryPart[], addBos: boolean): number[] => {
    const ids: number[] = []
    for (const piece of splitAtSpecials(legacy ? parts : withoutDummyPrefix(parts), splitters)) {
      if (typeof piece === 'number') ids.push(piece)
      else ids.push(...encodePiece(piece))
    }
    return [
      ...(addBos && config.add_bos_token ? [base.bos] : []),
      ...ids,
      ...(addBos && config.add_eos_token ? [base.eos] : []),
    ]
  }

  /** A run without added tokens: convert_tokens_to_string of 4.32, oddities included. */
  const decodeRun = (run: readonly number[]): string => {
    let text = ''
    let afterSpecial = false
    let plain: number[] = []
    let chunkStart = 0
    const flush = (): string => {
      // the run's first space goes by hand, each chunk's first one with the dummy prefix
      const decoded = bpe.decode(plain, {
        dropsFirstSpace: chunkStart === 0,
        stripsLeadingSpace: legacy && bpe.model.addDummyPrefix,
      })
      plain = []
      return decoded
    }
    run.forEach((id, index) => {
      const special = textOfBase.get(id)
      if (special === undefined) {
        plain.push(id)
        afterSpecial = false
        return
      }
      if (!afterSpecial && index !== 0 && legacy) text += ' '
      text += flush() + special
      chunkStart = index + 1
      afterSpecial = true
    })
    return text + flush()
  }

  const decode = (ids: readonly number[]): string => {
    const parts: string[] = []
    let run: number[] = []
    const endRun = () => {
      if (run.length > 0) parts.push(decodeRun(run))
      run = []
    }
    for (const id of ids) {
      const special = textOfAdded.get(id)
      if (special !== undefined) {
        endRun()
        parts.push(special)
      } else if (pieces[id]) run.push(id)
    }
    endRun()
    const text = parts.join(' ')
    return config.clean_up_tokenization_spaces ? cleanUpSpaces(text) : text
  }

  return {
    tokens: readSpecialTokens(addedTokens, base),
    vocabSize,
    encode: (text, options = {}) => encodeParts([{ text, trusted: true }], options.addBos ?? true),
    encodeParts: (parts, options = {}) => encodeParts(parts, options.addBos ?? true),
    encodeUserText: (text) => encodeParts([{ text, trusted: false }], false),
    decode,
    createStreamDecoder: () => createStreamDecoder(decode),
  }
}

interface Splitter {
  text: string
  id: number
  strips: boolean
}

/** By first character, longest first. */
function makeSplitters(specials: readonly Splitter[]): ReadonlyMap<string, Splitter[]> {
  const table = new Map<string, Splitter[]>()
  for (const special of specials) {
    const group = table.get(special.text[0]!) ?? []
    group.push(special)
    table.set(special.text[0]!, group)
  }
  for (const group of table.values()) group.sort((a, b) => b.text.length - a.text.length)
  return table
}

/** Texts between specials, and the specials' ids; a special counts only inside one trusted part. */
function splitAtSpecials(parts: readonly QueryPart[], table: ReadonlyMap<string, Splitter[]>): (string | number)[] {
  const pieces: (string | Splitter)[] = []
  let plain = ''
  for (const { text, trusted } of parts) {
    let start = 0
    for (let at = 0; trusted && at < text.length; ) {
      const found = table.get(text[at]!)?.find((special) => text.startsWith(special.text, at))
      if (!found) {
        at++
        continue
      }
      pieces.push(plain + text.slice(start, at), found)
      plain = ''
      at += found.text.length
      start = at
    }
    plain += text.slice(start)
  }
  pieces.push(plain)
  const stripsAt = (index: number): boolean => {
    const piece = pieces[index]
    return typeof piece === 'object' && piece.strips
  }
  return pieces
    .map((piece, index) => {
      if (typeof piece === 'object') return piece.id
      const left = stripsAt(index - 1) ? piece.replace(leadingWhitespace, '') : piece
      return stripsAt(index + 1) ? left.replace(trailingWhitespace, '') : left
    })
    .filter((piece) => piece !== '')
}

/** `legacy: false`: visible spaces become spaces, and one visible space goes before the whole text. */
function withoutDummyPrefix(parts: readonly QueryPart[]): QueryPart[] {
  const plain = parts.map(({ text, trusted }) => ({ text: text.replaceAll(visibleSpace, ' '), trusted }))
  return [{ text: visibleSpace, trusted: true }, ...plain]
}

function cleanUpSpaces(text: string): string {
  const pairs = [' .', ' ?', ' !', ' ,', " ' ", " n't", " 'm", " 's", " 've", " 're"]
  return pairs.reduce((result, pair) => result.replaceAll(pair, pair.trim()), text)
}

async function readBytes(dir: string, file: string): Promise<Uint8Array> {
  try {
    return await readFile(join(dir, file))
  } catch (cause) {
    throw new GromaError('TOKENIZER_INVALID', `${file}: cannot be read from ${dir}`, { cause })
  }
}

function parseJson<T>(bytes: Uint8Array, file: string, schema: z.ZodType<T>): T {
  try {
    return schema.parse(JSON.parse(Buffer.from(bytes).toString('utf8')))
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? cause.issues[0]?.message : (cause as Error).message
    throw new GromaError('TOKENIZER_INVALID', `${file}: ${reason}`, { cause })
  }
}
