import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readStateDict } from '../../../native-models/checkpoint/pickle.ts'
import {
  firstDuplicateKey,
  parseHeader,
  readSafetensorsHeader,
  writeSafetensors,
} from '../../../native-models/checkpoint/safetensors.ts'
import { readTensor } from '../../../native-models/checkpoint/tensorData.ts'
import { readTorchZip } from '../../../native-models/checkpoint/torchZip.ts'
import { GromaError } from '../../../native-models/errors.ts'
import { pickleStateDict, type TorchTensor, torchZipBytes, zipBytes } from '../../support/torchZipWriter.ts'

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'gromatic-hostile-'))
})
afterAll(() => rm(root, { recursive: true, force: true }))

const values = Float32Array.from({ length: 24 }, (_, i) => i)
const storages = new Map([
  ['0', { type: 'FloatStorage' as const, length: 24, bytes: new Uint8Array(values.buffer) }],
  ['1', { type: 'LongStorage' as const, length: 1, bytes: new Uint8Array(8) }],
])
const tensors = new Map<string, TorchTensor>([
  ['whole', { storageKey: '0', offset: 0, shape: [2, 3, 4], strides: [12, 4, 1] }],
  ['transposed', { storageKey: '0', offset: 0, shape: [4, 3], strides: [1, 4] }],
  ['tail', { storageKey: '0', offset: 20, shape: [4], strides: [1] }],
  ['every-other', { storageKey: '0', offset: 1, shape: [2, 2], strides: [12, 2] }],
  ['scalar', { storageKey: '0', offset: 5, shape: [], strides: [] }],
  ['counter', { storageKey: '1', offset: 0, shape: [], strides: [] }],
])

/** Runs `read`; anything but a result or a GromaError fails the test. */
async function survives(read: () => unknown): Promise<boolean> {
  try {
    await read()
    return true
  } catch (error) {
    if (error instanceof GromaError) return false
    throw error
  }
}

async function zipOf(bytes: Uint8Array) {
  const path = join(root, 'x.bin')
  await writeFile(path, bytes)
  const handle = await open(path)
  try {
    return await readTorchZip(handle, 'x.bin')
  } finally {
    await handle.close()
  }
}

describe('torch zips', () => {
  it.each([false, true])('reads views with any strides and offsets (zip64: %s)', async (zip64) => {
    const path = join(root, 'views.bin')
    await writeFile(path, torchZipBytes(tensors, storages, { zip64 }))
    const handle = await open(path)
    const { tensors: found, otherTensors } = await readTorchZip(handle, 'views.bin')
    const read = async (name: string) => [...(await readTensor(handle, found.find((tensor) => tensor.name === name)!))]
    expect(await read('whole')).toEqual([...values])
    expect(await read('transposed')).toEqual([0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11])
    expect(await read('tail')).toEqual([20, 21, 22, 23])
    expect(await read('every-other')).toEqual([1, 3, 13, 15])
    expect(await read('scalar')).toEqual([5])
    expect(otherTensors.get('counter')).toBe('I64')
    await handle.close()
  })

  it.each([
    ['past its storage', { offset: 21, shape: [4], strides: [1] }],
    ['with strides past its storage', { offset: 0, shape: [2, 2], strides: [23, 1] }],
    ['multiplied by stride 0', { offset: 0, shape: [100_000, 100_000], strides: [0, 0] }],
  ])('refuses a view %s', async (_, view) => {
    const bad = new Map([['bad', { storageKey: '0', ...view }]])
    await expect(zipOf(torchZipBytes(bad, storages))).rejects.toMatchObject({
      code: 'CHECKPOINT_INVALID',
      message: /larger/,
    })
  })

  it.each([
    ['a system call', 'cposix\nsystem\n(X\x02\x00\x00\x00lstR.'],
    ['eval', 'c__builtin__\neval\n.'],
    ['an object by reduce_ex', '\x80\x02c__builtin__\ngetattr\n.'],
    ['a later protocol', '\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.'],
    ['an instance', '\x80\x02(icollections\nOrderedDict\n.'],
    ['a table called with arguments', '\x80\x02ccollections\nOrderedDict\nK\x01\x85R.'],
    ['nesting', `\x80\x02${'('.repeat(100)}.`],
    ['a number', '\x80\x02K\x01.'],
    ['nothing', ''],
  ])('never executes: %s', (_, pickle) => {
    expect(() => readStateDict(Buffer.from(pickle, 'latin1'), 'x.bin')).toThrow(GromaError)
  })

  it('refuses compressed entries, strange zips and storages of another size', async () => {
    const pickle = pickleStateDict(tensors, storages)
    await expect(zipOf(zipBytes([['a/data.pkl', pickle]], { method: 8 }))).rejects.toMatchObject({
      message: /compressed/,
    })
    await expect(zipOf(zipBytes([['readme.txt', pickle]]))).rejects.toMatchObject({
      message: /not one that torch wrote/,
    })
    await expect(zipOf(zipBytes([['a/data.pkl', pickle]]))).rejects.toMatchObject({ message: /missing entry/ })
    const short = zipBytes([
      ['a/data.pkl', pickle],
      ['a/data/0', new Uint8Array(95)],
      ['a/data/1', new Uint8Array(8)],
    ])
    await expect(zipOf(short)).rejects.toMatchObject({ message: /should take 96 bytes/ })
    const twice = zipBytes([
      ['a/data.pkl', pickle],
      ['a/data.pkl', pickle],
    ])
    await expect(zipOf(twice)).rejects.toMatchObject({ message: /twice/ })
  })

  it('survives any damage to a pickle', async () => {
    const good = pickleStateDict(tensors, storages)
    const damage = fc.array(fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 0, max: 255 })), { maxLength: 6 })
    await fc.assert(
      fc.asyncProperty(damage, fc.nat(good.length), async (flips, length) => {
        const bytes = Buffer.from(good.subarray(0, length % 2 ? good.length : length))
        for (const [at, value] of flips) if (at < bytes.length) bytes[at] = value
        await survives(() => readStateDict(bytes, 'x.bin'))
      }),
      { numRuns: 3000 },
    )
  })

  it('survives any damage to a zip', async () => {
    const [plain, wide] = [torchZipBytes(tensors, storages), torchZipBytes(tensors, storages, { zip64: true })]
    const damage = fc.array(fc.tuple(fc.nat(5000), fc.integer({ min: 0, max: 255 })), { maxLength: 6 })
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(plain, wide), damage, fc.option(fc.nat(5000)), async (good, flips, length) => {
        const bytes = Buffer.from(good.subarray(0, length ?? good.length))
        for (const [at, value] of flips) bytes[at % Math.max(1, bytes.length)] = value
        await survives(() => zipOf(bytes))
      }),
      { numRuns: 500 },
    )
  })
})

describe('safetensors', () => {
  const header = (entries: unknown) => Buffer.from(JSON.stringify(entries))
  const sizeFor = (bytes: Uint8Array, data: number) => 8 + bytes.length + data

  it('writes what it reads', async () => {
    const path = join(root, 'x.safetensors')
    await writeSafetensors(path, { b: { shape: [2, 3, 4], data: values }, a: { shape: [], data: Float32Array.of(7) } })
    const handle = await open(path)
    const { tensors: found } = await readSafetensorsHeader(handle, 'x.safetensors')
    expect(found.map(({ name, shape }) => [name, shape])).toEqual([
      ['a', []],
      ['b', [2, 3, 4]],
    ]) // prettier-ignore
    expect(await readTensor(handle, found[1]!)).toEqual(values)
    await handle.close()
  })

  it.each<[string, unknown, number, RegExp]>([
    ['a gap', { a: { dtype: 'F32', shape: [1], data_offsets: [4, 8] } }, 8, /gap/],
    [
      'an overlap',
      { a: { dtype: 'F32', shape: [1], data_offsets: [0, 4] }, b: { dtype: 'F32', shape: [1], data_offsets: [2, 6] } },
      6,
      /overlaps/,
    ],
    ['a shape of another size', { a: { dtype: 'F32', shape: [3], data_offsets: [0, 8] } }, 8, /needs 12 bytes/],
    ['an overflowing shape', { a: { dtype: 'F32', shape: [2 ** 50, 2 ** 50], data_offsets: [0, 0] } }, 0, /needs/],
    ['an unknown type', { a: { dtype: 'F12', shape: [1], data_offsets: [0, 4] } }, 4, /unknown type/],
    ['an inherited name as type', { a: { dtype: 'constructor', shape: [1], data_offsets: [0, 4] } }, 4, /unknown type/],
    ['a negative offset', { a: { dtype: 'F32', shape: [1], data_offsets: [-4, 0] } }, 4, /broken data offsets/],
    ['bytes left over', { a: { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }, 9, /belong to nothing/],
    ['a list', [1, 2], 0, /not an object/],
  ])('refuses %s', (_, entries, data, message) => {
    const bytes = header(entries)
    expect(() => parseHeader(bytes, sizeFor(bytes, data), 'x')).toThrow(message)
  }) // prettier-ignore

  it('sees a key named twice, but not in strings or other objects', () => {
    expect(firstDuplicateKey('{"a":1,"b":{"a":2},"\\u0061":3}')).toBe('a')
    expect(firstDuplicateKey('{"a":"\\"a\\":","b":{"a":2},"c":["a","a"]}')).toBe(null)
  })

  it('takes __proto__ for an ordinary name', () => {
    const bytes = Buffer.from('{"__proto__":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
    expect(parseHeader(bytes, sizeFor(bytes, 4), 'x').tensors.map(({ name }) => name)).toEqual(['__proto__'])
    expect(({} as Record<string, unknown>).dtype).toBeUndefined()
  })

  it('survives any damage to a header', async () => {
    const entry = (begin: number) => ({ dtype: 'F32', shape: [2, 3], data_offsets: [begin, begin + 24] })
    const good = header({
      __metadata__: { format: 'pt' },
      a: entry(0),
      b: entry(24),
      c: { ...entry(48), dtype: 'F16', data_offsets: [48, 60] },
    })
    const damage = fc.array(fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 32, max: 126 })), { maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(damage, fc.option(fc.nat(good.length)), async (flips, length) => {
        const bytes = Buffer.from(good.subarray(0, length ?? good.length))
        for (const [at, value] of flips) if (at < bytes.length) bytes[at] = value
        await survives(() => parseHeader(bytes, sizeFor(bytes, 60), 'x'))
      }),
      { numRuns: 3000 },
    )
  })
})
