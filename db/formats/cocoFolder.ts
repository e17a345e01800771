/** A folder of COCO files as their authors lay them out: instances of every split, and sentences about the same images. */
import { basename, dirname } from 'node:path'
import { readCaptionsFile } from './cocoCaptions.ts'
import { jsonFilesIn, optionsFor, readCocoFile } from './cocoReader.ts'
import { cocoSight, isCaptions, isInstances, isOfKind } from './cocoSniff.ts'
import { isOurs } from './cocoWriter.ts'
import { type ImportItem, note } from './items.ts'
import { probePath } from './probe.ts'
import type { ImportInput } from './textFile.ts'

/** Sentences of other programs; what our own export puts beside it says the captions of its boxes once more. */
function isForeignCaptions(path: string): boolean {
  const probe = probePath(path)
  const [name = ''] = probe.names
  const sight = cocoSight(probe.json(name))
  return sight !== null && isCaptions(sight) && !isOurs(probe.head(name))
}

/** `person_keypoints_val2017.json` has the people of `instances_val2017.json` once more. */
const isDouble = (name: string, names: readonly string[]): boolean => {
  const of = basename(name).replace(/^person_keypoints_/, 'instances_')
  return of !== basename(name) && names.includes(dirname(name) === '.' ? of : `${dirname(name)}/${of}`)
}

export function* readCocoFolder(input: ImportInput): Generator<ImportItem> {
  const instances = jsonFilesIn(input.path, isOfKind(isInstances))
  const captions = jsonFilesIn(input.path, isForeignCaptions)
  const several = instances.length + captions.length > 1
  for (const name of instances) {
    if (isDouble(name, instances)) yield note(`${name} is left out: its boxes are in the instances beside it.`)
    else yield* readCocoFile(optionsFor(input, name, several))
  }
  for (const name of captions) yield* readCaptionsFile(optionsFor(input, name, several))
}
