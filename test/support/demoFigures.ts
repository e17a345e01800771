/**
 * What the demo model can do, measured on fresh scenes through our own engine: the figures of its model card.
 * Run by itself for the card: `node test/support/demoFigures.ts [SCENES] [FIRST_SEED] [--checkpoint DIR]
 * [--without branch|features|tokens] [--pairs held-out|others] [--backgrounds unseen]`; `--without` silences a part of the
 * region tokens first: the convolution branch, all that is told beside `<rK>`, or that and what `<rK>` itself says.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { convertCheckpoint } from '../../native-models/builders/buildModel.ts'
import {
  type BoxCxcywh,
  boxCxcywh,
  boxXywhPixels,
  cxcywhToXyxy,
  xywhPixelsToCxcywh,
} from '../../native-models/geometry/boxes.ts'
import { iouXyxy } from '../../native-models/geometry/overlap.ts'
import { GromaEngine } from '../../native-models/inference/engine.ts'
import { auroc } from '../../native-models/metrics/auroc.ts'
import { sameCaption } from '../../native-models/metrics/captions.ts'
import { cocoIouThresholds } from '../../native-models/metrics/detection.ts'
import { decodeImage } from '../../native-models/preprocess/image.ts'
import { absentExpressions, drawScene, referringExpression, type SceneOptions } from './syntheticScenes.ts'

export const demoCheckpoint = join(import.meta.dirname, '../../native-models/demo/checkpoint')

export interface DemoFigures {
  scenes: number
  objects: number
  /** Objects with a proposal at IoU >= 0.5. */
  recall: number
  /** Mean over IoU 0.5 to 0.95 of the share of objects with a proposal; at most 100 proposals an image. */
  averageRecall: number
  /** Proposals an object. */
  proposalsPerObject: number
  /** Captions of predicted boxes that match an object, word for word right. */
  captionOfProposals: number
  /** Captions of boxes as a person would draw them, off by up to 10%, word for word right. */
  captionOfDrawnBoxes: number
  /** `Locate <p>the large red circle</p>`: the first box at IoU >= 0.5. */
  locate: number
  locatePrecisionOfAll: number
  locateRecallOfAll: number
  /** Objects that a grounded description names word for word right at their box. */
  described: number
  /** Phrases at a box, of a grounded description, that are not what is there. */
  wronglyDescribed: number
  /** Does the confidence of the first box, 0 where none is given, tell phrases of what is there from those of what is not? */
  absentAuroc: number | null
}

/** Parts of a region token, each by the tensors that make it. */
const silenced = {
  branch: ['region_encoder.roi_align.flatten_linear.weight'],
  features: ['region_encoder.roi_align.updims.weight', 'region_encoder.roi_align.updims.bias'],
  tokens: ['region_encoder.roi_align.updims.weight', 'region_encoder.roi_align.updims.bias', 'new_input_embs.weight'],
}
const REGION_NAMES = 100 // <r0> to <r99>, the last rows of new_input_embs
export type RegionTokenPart = keyof typeof silenced

/** A copy of a checkpoint whose region tokens lack a part. */
function copyWithout(checkpoint: string, part: RegionTokenPart, to: string): void {
  cpSync(checkpoint, to, { recursive: true })
  const bytes = readFileSync(join(checkpoint, 'model.safetensors'))
  const headerEnd = 8 + Number(bytes.readBigUInt64LE())
  const header = JSON.parse(bytes.toString('utf8', 8, headerEnd)) as Record<
    string,
    { data_offsets: [number, number]; shape: number[] }
  >
  for (const name of silenced[part]) {
    const { data_offsets, shape } = header[name]!
    const end = data_offsets[1]
    const all = end - data_offsets[0]
    const from = end - (name === 'new_input_embs.weight' ? (all * REGION_NAMES) / shape[0]! : all)
    bytes.fill(0, headerEnd + from, headerEnd + end)
  }
  writeFileSync(join(to, 'model.safetensors'), bytes)
}

export interface DemoOptions {
  checkpoint?: string
  without?: RegionTokenPart
  /** fp32 by default, as `models convert` names precisions */
  llm?: string
  vision?: string
}

/** The demo model as an engine folder of its own. */
export async function makeDemoFolder(options: DemoOptions = {}): Promise<{ dir: string; remove(): void }> {
  const folder = mkdtempSync(join(tmpdir(), 'gromatic-demo-'))
  const dir = join(folder, 'model')
  const { llm = 'fp32', vision = 'fp32' } = options
  let { checkpoint = demoCheckpoint } = options
  if (options.without) {
    copyWithout(checkpoint, options.without, join(folder, 'checkpoint'))
    checkpoint = join(folder, 'checkpoint')
  }
  await convertCheckpoint(checkpoint, dir, { llm, vision })
  return { dir, remove: () => rmSync(folder, { recursive: true, force: true }) }
}

/** Opens the demo model, converted into a folder that goes away with the engine. */
export async function openDemo(options: DemoOptions = {}): Promise<{ engine: GromaEngine; close(): Promise<void> }> {
  const { dir, remove } = await makeDemoFolder(options)
  const engine = await GromaEngine.open(dir)
  return {
    engine,
    close: async () => {
      await engine.close()
      remove()
    },
  }
}

const iou = (a: BoxCxcywh, b: BoxCxcywh) => iouXyxy(cxcywhToXyxy(a), cxcywhToXyxy(b))
const share = (part: number, whole: number) => (whole === 0 ? 0 : part / whole)

/** Measures scenes `firstSeed`, `firstSeed + 1`, ... */
export async function measureDemo(
  engine: GromaEngine,
  sceneCount: number,
  firstSeed: number,
  tell: (scene: number, figures: DemoFigures) => void = () => {},
  sceneOptions: SceneOptions = {},
): Promise<DemoFigures> {
  const n = { objects: 0, found: 0, proposals: 0, matched: 0, right: 0, drawnRight: 0, asked: 0, located: 0 }
  const all = { asked: 0, given: 0, hit: 0 }
  const description = { pairs: 0, right: 0, named: 0 }
  const confidence = { there: [] as number[], absent: [] as number[] }
  let recalls = 0
  const figures = (scenes: number): DemoFigures => ({
    scenes,
    objects: n.objects,
    recall: share(n.found, n.objects),
    averageRecall: share(recalls, n.objects),
    proposalsPerObject: share(n.proposals, n.objects),
    captionOfProposals: share(n.right, n.matched),
    captionOfDrawnBoxes: share(n.drawnRight, n.objects),
    locate: share(n.located, n.asked),
    locatePrecisionOfAll: share(all.hit, all.given),
    locateRecallOfAll: share(all.hit, all.asked),
    described: share(description.named, n.objects),
    wronglyDescribed: share(description.pairs - description.right, description.pairs),
    absentAuroc: auroc(confidence.there, confidence.absent),
  })
  for (let k = 0; k < sceneCount; k++) {
    const scene = await drawScene(firstSeed + k, sceneOptions)
    const truth = scene.objects.map(({ bboxXywh: [x, y, w, h] }) =>
      xywhPixelsToCxcywh(boxXywhPixels(x, y, w, h), scene.width, scene.height),
    )
    const perception = await engine.perceive(await decodeImage(scene.bytes), { key: `scene ${firstSeed + k}` })
    const proposals = engine.propose(perception)
    const captions = await engine.caption(
      perception,
      proposals.map(({ boxCxcywh }) => boxCxcywh),
      { detail: 'brief' },
    )
    n.objects += truth.length
    n.proposals += proposals.length
    const fits = truth.map((box) => Math.max(0, ...proposals.map(({ boxCxcywh }) => iou(boxCxcywh, box))))
    n.found += fits.filter((fit) => fit >= 0.5).length
    for (const fit of fits) recalls += cocoIouThresholds.filter((threshold) => fit >= threshold).length / 10
    for (const [place, { boxCxcywh }] of proposals.entries()) {
      const overlaps = truth.map((box) => iou(boxCxcywh, box))
      const best = overlaps.indexOf(Math.max(...overlaps))
      if (overlaps[best]! < 0.5) continue
      n.matched++
      if (sameCaption(captions[place]!.text, scene.objects[best]!.caption)) n.right++
    }
    for (const [place, object] of scene.objects.entries()) {
      const [drawn] = await engine.caption(perception, [asDrawn(truth[place]!, firstSeed + k + place)], {
        detail: 'brief',
      })
      if (sameCaption(drawn!.text, object.caption)) n.drawnRight++
      const phrase = referringExpression(scene, object)
      if (phrase === null) continue
      n.asked++
      const answer = await engine.locate(perception, { phrase, all: false })
      const first = answer.spans.flatMap((span) => span.regions)[0]
      if (first && iou(first.boxCxcywh, truth[place]!) >= 0.5) n.located++
      confidence.there.push(first?.score ?? 0)
    }
    for (const phrase of absentExpressions(scene, firstSeed + k)) {
      const answer = await engine.locate(perception, { phrase, all: false })
      confidence.absent.push(answer.spans.flatMap((span) => span.regions)[0]?.score ?? 0)
    }
    const told = await engine.ask(perception, {
      question: 'Give me a concise description of the image.',
      grounded: true,
    })
    const named = new Set<number>()
    for (const { text, regions } of told.spans)
      for (const { boxCxcywh } of regions) {
        description.pairs++
        const meant = truth.findIndex(
          (box, place) => iou(box, boxCxcywh) >= 0.5 && sameCaption(text, scene.objects[place]!.caption),
        )
        if (meant < 0) continue
        description.right++
        named.add(meant)
      }
    description.named += named.size
    for (const shape of new Set(scene.objects.map((object) => object.shape))) {
      const wanted = truth.filter((_, place) => scene.objects[place]!.shape === shape)
      const answer = await engine.locate(perception, { phrase: shape, all: true })
      const given = answer.spans.flatMap((span) => span.regions.map(({ boxCxcywh }) => boxCxcywh))
      all.asked += wanted.length
      all.given += given.length
      all.hit += wanted.filter((box) => given.some((other) => iou(other, box) >= 0.5)).length
    }
    tell(k + 1, figures(k + 1))
  }
  return figures(sceneCount)
}

/** A box as a hand draws it: each side off by up to a tenth of the box. */
function asDrawn([cx, cy, w, h]: BoxCxcywh, seed: number): BoxCxcywh {
  const off = (k: number) => Math.sin(seed * 12.9898 + k * 78.233) * 0.05
  return boxCxcywh(cx + w * off(1), cy + h * off(2), w * (1 + 2 * off(3)), h * (1 + 2 * off(4)))
}

if (import.meta.main) {
  const text = { type: 'string' } as const
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { checkpoint: text, without: text, pairs: text, backgrounds: text },
  })
  const [scenes = 100, seed = 1_000_000] = positionals.map(Number)
  const oneOf = <K extends string, T extends string>(name: K & keyof typeof values, ...allowed: T[]) => {
    const value = values[name] as T | undefined
    if (value === undefined) return {}
    if (!allowed.includes(value)) throw new Error(`--${name} takes ${allowed.join(' or ')}`)
    return { [name]: value } as Record<K, T>
  }
  const { checkpoint } = values
  const { engine, close } = await openDemo({
    ...(checkpoint === undefined ? {} : { checkpoint }),
    ...oneOf('without', ...(Object.keys(silenced) as RegionTokenPart[])),
  })
  const figures = await measureDemo(
    engine,
    scenes,
    seed,
    (done, now) => {
      if (done % 10 === 0) console.error(done, JSON.stringify(now))
    },
    { ...oneOf('pairs', 'held-out', 'others'), ...oneOf('backgrounds', 'unseen') },
  )
  console.log(JSON.stringify(figures, null, 1))
  await close()
}
