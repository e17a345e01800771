import { afterEach, describe, expect, it, vi } from 'vitest'
import {
  defaultExport,
  exportInput,
  noFilter,
  parseSplit,
  rememberExport,
  rememberedExport,
  suggestedPath,
} from '../../renderer/stores/exporting.ts'

describe('an export', () => {
  afterEach(() => void vi.unstubAllGlobals())

  it('goes beside the project, by format', () => {
    const of = (id: 'coco' | 'yolo' | 'csv', shape: 'file' | 'folder', extension: string, zip = false) =>
      suggestedPath('/p/street.gromatic', { id, shape, extension }, zip)
    expect(of('coco', 'file', '.json')).toBe('/p/street-coco/annotations/instances_train.json')
    expect(of('yolo', 'folder', '')).toBe('/p/street-yolo')
    expect(of('csv', 'file', '.csv')).toBe('/p/street-csv.csv')
    expect(of('yolo', 'folder', '', true)).toBe('/p/street-yolo.zip')
    expect(suggestedPath('C:\\p\\a.gromatic', { id: 'coco', shape: 'file', extension: '.json' }, false)).toBe(
      'C:\\p\\a-coco\\annotations\\instances_train.json',
    )
  })

  it.each([
    ['', undefined],
    ['train=8, val=1,test=1', { train: 8, val: 1, test: 1 }],
    ['train=0.8 val=0.2', { train: 0.8, val: 0.2 }],
    ['train', null],
    ['train=8, train=2', null],
    ['a=0', null],
    ['../x=1', null],
    ['a=-1', null],
  ])('reads the split %j', (text, shares) => expect(parseSplit(text)).toEqual(shares))

  it('asks only for what was chosen', () => {
    expect(exportInput(' /a.json ', false, defaultExport, noFilter)).toEqual({
      path: '/a.json',
      format: 'coco',
      status: 'accepted',
      copyImages: false,
      keepNames: false,
      polygons: false,
      proposals: false,
      overwrite: false,
      filter: {},
    })
    const choices = { ...defaultExport, format: 'yolo', polygons: true, keepNames: true, split: 'a=1,b=1' } as const
    const filter = { images: 'doneOnly', fileName: ' x ', categories: ['cup'], minScore: 0.5 } as const
    expect(exportInput('/out', true, choices, filter)).toMatchObject({
      polygons: false,
      keepNames: false,
      overwrite: true,
      filter: { doneOnly: true, fileName: 'x', categories: ['cup'], minScore: 0.5 },
      split: { shares: { a: 1, b: 1 }, seed: 'gromatic' },
    })
  })

  it('remembers the last choice and survives what it cannot read', () => {
    const kept = new Map<string, string>()
    vi.stubGlobal('localStorage', {
      getItem: (key: string) => kept.get(key) ?? null,
      setItem: (key: string, value: string) => kept.set(key, value),
    })
    expect(rememberedExport()).toEqual(defaultExport)
    rememberExport({ ...defaultExport, format: 'voc', zip: true })
    expect(rememberedExport()).toEqual({ ...defaultExport, format: 'voc', zip: true })
    for (const stored of ['no json', 'null', '[]', '{"format":"word","status":7,"zip":"yes"}']) {
      kept.set([...kept.keys()][0]!, stored)
      expect(rememberedExport()).toEqual(defaultExport)
    }
  })
})
