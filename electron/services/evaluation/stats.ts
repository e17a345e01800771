/** `stats`: how far a project is, how many proposals were accepted, and how long a decision took. */
import type { DecisionCounts } from '../../../db/repositories/statistics.ts'
import { percent, shareOf, withStatistics } from './statistics.ts'

type Acceptance = DecisionCounts & {
  /** Accepted or edited, of all that were decided; null before the first decision. */
  acceptance: number | null
}

export interface ProjectStats {
  project: string
  images: { total: number; missing: number; proposedFor: number; done: number }
  model: Acceptance
  categories: (Acceptance & { category: string | null })[]
  models: (Acceptance & { modelHash: string | null })[]
  drawn: number
  imported: number
  /** Of the decisions whose time is known. Half of them took `median` or less. */
  secondsPerDecision: { count: number; median: number | null; mean: number | null; p90: number | null }
  days: { day: string; decisions: number }[]
}

const withAcceptance = <T extends DecisionCounts>(counts: T): T & { acceptance: number | null } => {
  const kept = counts.accepted + counts.edited
  return { ...counts, acceptance: shareOf(kept, kept + counts.rejected) }
}

/** @throws NOT_FOUND, PROJECT_INVALID, PROJECT_NEWER, READ_ONLY, IO_FAILED */
export function projectStats(projectPath: string): ProjectStats {
  return withStatistics(projectPath, (statistics) => {
    const { images, ...progress } = statistics.progress()
    const ms = statistics.decisionMs()
    const at = (share: number) =>
      ms.length === 0 ? null : ms[Math.min(ms.length - 1, Math.ceil(share * ms.length) - 1)]! / 1000
    return {
      project: projectPath,
      images: { total: images, ...progress },
      model: withAcceptance(statistics.decisions()),
      categories: statistics.decisionsByCategory().map(withAcceptance),
      models: statistics.decisionsByModel().map(withAcceptance),
      ...statistics.others(),
      secondsPerDecision: {
        count: ms.length,
        median: at(0.5),
        mean: ms.length === 0 ? null : ms.reduce((sum, value) => sum + value, 0) / ms.length / 1000,
        p90: at(0.9),
      },
      days: statistics.days(),
    }
  })
}

export function statsText({
  images,
  model,
  categories,
  drawn,
  imported,
  secondsPerDecision,
  days,
}: ProjectStats): string {
  const seconds = (value: number | null) => (value === null ? '-' : `${value.toFixed(1)} s`)
  const { median, mean, p90, count } = secondsPerDecision
  return [
    `images      ${images.done} of ${images.total} done, proposals for ${images.proposedFor}${images.missing === 0 ? '' : `, ${images.missing} missing`}`,
    `proposals   ${model.proposed} open, ${model.accepted} accepted, ${model.edited} edited, ${model.rejected} rejected`,
    `acceptance  ${percent(model.acceptance)}`,
    `other boxes ${drawn} drawn, ${imported} imported`,
    `a decision  median ${seconds(median)}, mean ${seconds(mean)}, 90% within ${seconds(p90)} (${count} timed)`,
    ...categories
      .filter(({ acceptance }) => acceptance !== null)
      .map(({ category, acceptance, accepted, edited, rejected }) => {
        return `  ${category ?? '(no class)'}: ${percent(acceptance)} of ${accepted + edited + rejected}`
      }),
    ...days.map(({ day, decisions }) => `  ${day}: ${decisions} decisions`),
  ].join('\n')
}
