import protobuf from 'protobufjs'
import { GromaError } from '../errors.ts'

/** Kinds of vocabulary entries, numbered as in sentencepiece_model.proto. */
export const pieceKind = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const

export interface SentencePieceModel {
  pieces: { text: string; score: number; kind: number }[]
  /** put a space before the text, so that a word looks the same at its start */
  addDummyPrefix: boolean
  removeExtraWhitespaces: boolean
  byteFallback: boolean
  unkId: number
  bosId: number
  eosId: number
  /** what an unknown piece decodes to */
  unkSurface: string
}

const modelTypeBpe = 2
const maxPieces = 1_000_000

/**
 * Parses a `tokenizer.model` (the ModelProto of SentencePiece).
 * @param file the name used in messages
 * @throws TOKENIZER_INVALID when it is broken or of a kind that LLaMA never uses (unigram, a character map)
 */
export function parseSentencePieceModel(bytes: Uint8Array, file: string): SentencePieceModel {
  const fail = (reason: string, cause?: unknown) => new GromaError('TOKENIZER_INVALID', `${file}: ${reason}`, { cause })
  const model: SentencePieceModel = {
    pieces: [],
    addDummyPrefix: true,
    removeExtraWhitespaces: true,
    byteFallback: false,
    unkId: 0,
    bosId: 1,
    eosId: 2,
    unkSurface: ' \u2047 ',
  }
  let modelType = 1
  let charsMapBytes = 0
  let escapeWhitespaces = true
  let whitespaceSuffix = false
  try {
    readMessage(protobuf.Reader.create(bytes), {
      1: (reader, end) => {
        const piece = { text: '', score: 0, kind: pieceKind.normal as number }
        readMessage(
          reader,
          {
            1: () => {
              piece.text = reader.string()
            },
            2: () => {
              piece.score = reader.float()
            },
            3: () => {
              piece.kind = reader.int32()
            },
          },
          end,
        ) // prettier-ignore
        if (model.pieces.push(piece) > maxPieces) throw fail('has too many pieces')
      },
      2: (reader, end) =>
        readMessage(
          reader,
          {
            3: () => {
              modelType = reader.int32()
            },
            24: () => {
              whitespaceSuffix = reader.bool()
            },
            35: () => {
              model.byteFallback = reader.bool()
            },
            40: () => {
              model.unkId = reader.int32()
            },
            41: () => {
              model.bosId = reader.int32()
            },
            42: () => {
              model.eosId = reader.int32()
            },
            44: () => {
              model.unkSurface = reader.string()
            },
          },
          end,
        ), // prettier-ignore
      3: (reader, end) =>
        readMessage(
          reader,
          {
            2: () => {
              charsMapBytes = reader.bytes().length
            },
            3: () => {
              model.addDummyPrefix = reader.bool()
            },
            4: () => {
              model.removeExtraWhitespaces = reader.bool()
            },
            5: () => {
              escapeWhitespaces = reader.bool()
            },
          },
          end,
        ), // prettier-ignore
    })
  } catch (cause) {
    if (cause instanceof GromaError) throw cause
    throw fail('is not a SentencePiece model', cause)
  }
  if (model.pieces.length === 0) throw fail('is not a SentencePiece model: it has no pieces')
  if (modelType !== modelTypeBpe) throw fail('is not a BPE model; LLaMA tokenizers are')
  if (charsMapBytes > 0) throw fail('rewrites characters before splitting, which is not supported')
  if (!escapeWhitespaces || whitespaceSuffix) throw fail('treats spaces in a way that is not supported')
  for (const [role, id] of [
    ['unk_id', model.unkId],
    ['bos_id', model.bosId],
    ['eos_id', model.eosId],
  ] as const) {
    if (!model.pieces[id]) throw fail(`${role} ${id} is outside its vocabulary`)
  } // prettier-ignore
  return model
}

type FieldReaders = Record<number, (reader: protobuf.Reader, end: number) => void>

/** Reads one message; a reader gets the end of its own field when that is a nested message. */
function readMessage(reader: protobuf.Reader, fields: FieldReaders, end = reader.len): void {
  while (reader.pos < end) {
    const tag = reader.uint32()
    const read = fields[tag >>> 3]
    if (!read) {
      reader.skipType(tag & 7)
      continue
    }
    const nested = (tag & 7) === 2 && read.length === 2
    if (nested) {
      const length = reader.uint32()
      read(reader, reader.pos + length)
    } else read(reader, end)
  }
  if (reader.pos !== end) throw new Error('a field reaches past its message')
}
