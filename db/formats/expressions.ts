/** Referring expressions of a box: several sentences that each mean it, kept as one attribute, a line each. PURE. */
import type { AnnotationExtras } from '../records/records.ts'
import type { ImportAnnotation } from './items.ts'

export const oneLine = (text: string): string => text.replace(/\s+/g, ' ').trim()

export function withExpressions(annotation: ImportAnnotation, expressions: readonly string[]): ImportAnnotation {
  const lines = expressions.map(oneLine).filter((text) => text !== '')
  const [first] = lines
  // the caption alone needs no saying twice
  if (first === undefined || (lines.length === 1 && first === oneLine(annotation.caption ?? ''))) return annotation
  const attributes = { ...annotation.extras?.attributes, expressions: lines.join('\n') }
  return { ...annotation, extras: { ...annotation.extras, attributes } }
}

export function expressionsOf(extras: AnnotationExtras | undefined): string[] {
  const text = extras?.attributes?.expressions
  return typeof text === 'string' ? text.split('\n') : []
}
