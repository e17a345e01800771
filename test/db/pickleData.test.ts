import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type PickleValue, readPickle, writePickle } from '../../db/formats/pickleData.ts'
import { tempFolder } from './support.ts'

const python = process.env.GROMATIC_PYTHON ?? 'python3'
const hasPython = spawnSync(python, ['-c', 'import pickle']).status === 0

/** Dictionaries as objects, to compare with JSON. */
function plain(value: PickleValue): unknown {
  if (Array.isArray(value)) return value.map(plain)
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, entry]) => [String(key), plain(entry)]))
  return value
}

const VALUES = [
  {
    sent_ids: [0, 1, 255, 256, 65_535, 65_536, -1, 2 ** 31, 2 ** 40, -(2 ** 35)],
    split: 'train',
    none: null,
    yes: true,
    no: false,
  },
  {
    sentences: [{ tokens: ['the', 'man’s', 'hat'], raw: 'it\'s "quoted"\nand more\t\\', sent: 'café 车 😀' }],
    empty: [],
    nothing: {},
  },
  1.5,
  'x'.repeat(300),
]

test.skipIf(!hasPython)('reads what Python pickles in every protocol, shared values too', () => {
  const folder = tempFolder()
  writeFileSync(join(folder, 'in.json'), JSON.stringify(VALUES))
  const script = `
import json, pickle, sys
value = json.load(open(sys.argv[1] + "/in.json", encoding="utf8"))
for protocol in range(6):
    pickle.dump(value + [value, (1, 2), value[0]["sent_ids"]], open(f"{sys.argv[1]}/{protocol}.p", "wb"), protocol)
`
  const made = spawnSync(python, ['-c', script, folder], { encoding: 'utf8' })
  expect(made.status, made.stderr).toBe(0)
  for (let protocol = 0; protocol < 6; protocol++) {
    const read = readPickle(readFileSync(join(folder, `${protocol}.p`)), 'x')
    expect(plain(read)).toEqual([...VALUES, VALUES, [1, 2], (VALUES[0] as { sent_ids: number[] }).sent_ids])
  }
})

test.skipIf(!hasPython)('writes what Python reads', () => {
  const folder = tempFolder()
  writeFileSync(join(folder, 'out.p'), writePickle(VALUES))
  const script = 'import json, pickle, sys\nprint(json.dumps(pickle.load(open(sys.argv[1] + "/out.p", "rb"))))'
  const { stdout, stderr } = spawnSync(python, ['-c', script, folder], { encoding: 'utf8' })
  expect(JSON.parse(stdout), stderr).toEqual(VALUES)
  expect(plain(readPickle(writePickle(VALUES), 'x'))).toEqual(VALUES)
})

test('refuses every operation that could import, call or build', () => {
  // GLOBAL, STACK_GLOBAL, REDUCE, BUILD, INST, OBJ, NEWOBJ, NEWOBJ_EX, PERSID, BINPERSID, EXT1, EXT2, EXT4
  for (const code of [0x63, 0x93, 0x52, 0x62, 0x69, 0x6f, 0x81, 0x92, 0x50, 0x51, 0x82, 0x83, 0x84]) {
    const pickle = Buffer.concat([Buffer.from([0x80, 2, 0x5d, 0x5d, code]), Buffer.from('os\nsystem\n.')])
    expect(() => readPickle(pickle, 'x.p')).toThrow(/x\.p uses the operation 0x.*plain data does not need/)
  }
})
