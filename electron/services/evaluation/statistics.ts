/** A project's statistics, read without getting in the way of whoever works on it. */
import { openDatabase } from '../../../db/openDatabase.ts'
import { type StatisticsRepository, statisticsRepository } from '../../../db/repositories/statistics.ts'

/** Opens a project for reading, asks, closes. @throws NOT_FOUND, PROJECT_INVALID, PROJECT_NEWER, READ_ONLY, IO_FAILED */
export function withStatistics<T>(projectPath: string, ask: (statistics: StatisticsRepository) => T): T {
  const opened = openDatabase(projectPath, { readOnly: true })
  try {
    return ask(statisticsRepository(opened.db))
  } finally {
    opened.close()
  }
}

/** "12.3%", or a dash where there is nothing to take a share of. */
export const percent = (share: number | null) => (share === null ? '-' : `${(100 * share).toFixed(1)}%`)
export const shareOf = (part: number, whole: number) => (whole === 0 ? null : part / whole)
