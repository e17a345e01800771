import { copyFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { GromaError } from '../../../native-models/errors.ts'
import { promptPrefix } from '../../../native-models/groma/prompt.ts'
import { decodeUtf8LikeSentencePiece } from '../../../native-models/preprocess/bytes.ts'
import { parseSentencePieceModel } from '../../../native-models/preprocess/sentencePieceModel.ts'
import { type GromaTokenizer, loadTokenizer } from '../../../native-models/preprocess/tokenizer.ts'
import { referenceExpectation, referenceNames, referenceTokenizerDir } from '../../support/referenceCases.ts'

describe.each(referenceNames)('%s: ids and texts of the slow LlamaTokenizer', (name) => {
  const { images, tokenizer: cases = [] } = referenceExpectation(name)
  let tokenizer: GromaTokenizer
  beforeAll(async () => {
    tokenizer = await loadTokenizer(referenceTokenizerDir(name))
  })

  it.each(cases)('$text', ({ text, ids, ids_no_bos: idsNoBos, decoded }) => {
    expect(tokenizer.encode(text)).toEqual(ids)
    expect(tokenizer.encode(text, { addBos: false })).toEqual(idsNoBos)
    expect(tokenizer.decode(ids)).toBe(decoded)
  })

  it('prompts and answers', () => {
    for (const { prompt, input_ids: inputIds, output_ids: outputIds, output_text: outputText } of images.flatMap(
      ({ cases }) => cases,
    )) {
      expect(tokenizer.encode(prompt)).toEqual(inputIds)
      expect(tokenizer.decode(outputIds)).toBe(outputText)
      expect(inputIds.slice(0, tokenizer.encode(promptPrefix).length)).toEqual(tokenizer.encode(promptPrefix))
    }
  })

  it('answers token by token', () => {
    for (const { output_ids: ids } of images.flatMap(({ cases }) => cases)) {
      const stream = tokenizer.createStreamDecoder()
      const pieces = ids.map((id) => stream.push(id))
      pieces.push(stream.finish())
      expect(pieces.join('')).toBe(stream.text)
      if (!ids.includes(tokenizer.tokens.eos) && !ids.includes(tokenizer.tokens.unk)) {
        expect(stream.text).toBe(tokenizer.decode(ids))
      }
    }
  })
})

describe.each(['one-level', 'four-level'] as const)('%s tokenizer', (name) => {
  let tokenizer: GromaTokenizer
  beforeAll(async () => {
    tokenizer = await loadTokenizer(referenceTokenizerDir(name))
  })

  it('a prompt in parts is the prompt as a whole', () => {
    const plain = fc.string({ unit: fc.constantFrom('a', 'd', 'o', 'g', ' ', '.', 'é', '▁', '\n', '你', '🙂') })
    fc.assert(
      fc.property(plain, plain, (first, second) => {
        const parts = [
          { text: 'Locate <p>', trusted: true },
          { text: first, trusted: false },
          { text: '</p> in ', trusted: true },
          { text: second, trusted: false },
        ]
        expect(tokenizer.encodeParts(parts)).toEqual(tokenizer.encode(parts.map(({ text }) => text).join('')))
      }),
    )
  })

  it('any text of a person comes back, and never as a special token', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1 }), (text) => {
        const ids = tokenizer.encodeUserText(text)
        expect(ids.every((id) => id >= 0 && id < tokenizer.vocabSize && !tokenizer.tokens.all.has(id))).toBe(true)
        // one leading space more or less is the dummy prefix's affair, and visible spaces are spaces
        const plain = (value: string) => value.replaceAll('▁', ' ').replace(/^ +/, '')
        expect(plain(tokenizer.decode(ids))).toBe(plain(text))
      }),
    )
  })

  it('takes lone surrogates, ids from nowhere, and long texts in linear time', () => {
    expect(() => tokenizer.encode('\ud800')).not.toThrow()
    expect(tokenizer.decode([-1, 1e9, Number.NaN, 1.5])).toBe('')
    const before = process.cpuUsage()
    tokenizer.encodeUserText('a red circle on the left, '.repeat(4000))
    expect(process.cpuUsage(before).user / 1000).toBeLessThan(2000) // takes about 80 ms of processor time
  })
})

describe('UTF-8 as SentencePiece decodes it', () => {
  it.each<[number[], string]>([
    [[0x41, 0xc3, 0xa9], 'Aé'],
    [[0xf0, 0x9f, 0x99, 0x82], '🙂'],
    [[0xe4, 0xbd], '\ufffd\ufffd'],
    [[0xc0, 0x80], '\ufffd\ufffd'],
    [[0xed, 0xa0, 0x80], '\ufffd\ufffd\ufffd'],
    [[0xf4, 0x90, 0x80, 0x80], '\ufffd\ufffd\ufffd\ufffd'],
    [[0xff, 0x41], '\ufffdA'],
  ])('%j', (bytes, text) => {
    expect(decodeUtf8LikeSentencePiece(bytes)).toBe(text)
  })
})

describe('broken tokenizer files', () => {
  let root: string
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'gromatic-tokenizer-'))
  })
  afterAll(() => rm(root, { recursive: true, force: true }))

  const withFile = async (file: string, content: string | Uint8Array | null) => {
    const source = referenceTokenizerDir('one-level')
    const dir = await mkdtemp(join(root, 'x-'))
    for (const name of await readdir(source)) await copyFile(join(source, name), join(dir, name))
    if (content === null) await rm(join(dir, file))
    else await writeFile(join(dir, file), content)
    return dir
  }

  it.each<[string, string | null]>([
    ['tokenizer.model', null],
    ['tokenizer.model', '<!DOCTYPE html><html></html>'],
    ['tokenizer.model', ''],
    ['tokenizer_config.json', null],
    ['tokenizer_config.json', '{'],
    ['tokenizer_config.json', '{"bos_token":"<nope>"}'],
    ['added_tokens.json', '{"<p>":"606"}'],
    ['added_tokens.json', '{"<p>":606}'],
  ])('%s: %j', async (file, content) => {
    const expected = { code: 'TOKENIZER_INVALID', message: new RegExp(file) }
    await expect(loadTokenizer(await withFile(file, content))).rejects.toMatchObject(expected)
  })

  it('survives any damage to tokenizer.model', async () => {
    const good = await readFile(join(referenceTokenizerDir('one-level'), 'tokenizer.model'))
    const damage = fc.array(fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 0, max: 255 })), { maxLength: 4 })
    fc.assert(
      fc.property(damage, fc.option(fc.nat(good.length)), (flips, length) => {
        const bytes = Uint8Array.from(good.subarray(0, length ?? good.length))
        for (const [at, value] of flips) if (at < bytes.length) bytes[at] = value
        try {
          parseSentencePieceModel(bytes, 'tokenizer.model')
        } catch (error) {
          expect(error).toBeInstanceOf(GromaError)
        }
      }),
      { numRuns: 300 },
    )
  })
})
