/** What an import will do, or did, one line each: shown before and after, and copied as the report. */
import type { TFunction } from 'i18next'
import type { ImportPlan, Output } from '../../../electron/contract/api.ts'

/** Names told one by one; of a thousand classes the first are enough. */
const NAMES_TOLD = 12

function listed(names: readonly string[], t: TFunction): string {
  const text = names.slice(0, NAMES_TOLD).join(', ')
  return names.length > NAMES_TOLD ? t('import.andMore', { names: text, count: names.length - NAMES_TOLD }) : text
}

/** The lines about a plan; those about nothing are left out. */
export function planLines(plan: ImportPlan, t: TFunction): { writes: string[]; leaves: string[] } {
  const { annotations, messages, images, categories, problems } = plan
  const counted = (key: string, count: number): string[] => (count > 0 ? [t(`import.${key}`, { count })] : [])
  const named = (key: string, names: readonly string[]): string[] =>
    names.length > 0 ? [t(`import.${key}`, { names: listed(names, t) })] : []
  const made = categories.filter(({ action }) => action === 'create').map(({ into, name }) => into ?? name)
  const merged = categories.filter(({ action, name, into }) => action === 'merge' && into !== name)
  return {
    writes: [
      ...counted('willAdd', annotations.toAdd),
      ...counted('willMessages', messages.toAdd),
      ...counted('willReplace', annotations.toReplace),
      ...counted('willImages', images.added),
      ...counted('willCopy', images.coming),
      ...named('willCreate', [...new Set(made)]),
      ...named(
        'willMerge',
        merged.map(({ name, into }) => `${name} → ${into}`),
      ),
    ],
    leaves: [
      ...counted('willThere', annotations.alreadyThere),
      ...counted('willLeave', annotations.leftOut),
      ...counted('willMissing', images.missing),
      ...counted('willBad', problems.count),
      ...named(
        'willSkip',
        categories.filter(({ action }) => action === 'skip').map(({ name }) => name),
      ),
    ],
  }
}

/** The whole report as text, bad rows included. */
export function reportText(result: Output<'transfer.import'>, path: string, formatName: string, t: TFunction): string {
  const { plan, copied, seq } = result
  const { writes, leaves } = planLines(plan, t)
  const { problems } = plan
  const lines = [
    t('import.from', { path, format: formatName }),
    ...(seq === null ? [t('import.nothingAdded')] : writes),
    ...(copied > 0 ? [t('import.copied', { count: copied })] : []),
    ...leaves,
    ...plan.images.missingExamples.map((name) => `  ${name}`),
    ...problems.first.map(({ where, reason }) => `  ${where}: ${reason}`),
    ...(problems.count > problems.first.length
      ? [`  ${t('import.problemsShown', { count: problems.first.length })}`]
      : []),
    ...plan.notes,
  ]
  return lines.join('\n')
}
