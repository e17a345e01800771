/** `stats`: how far a project is, and how its decisions went. */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { projectStats, statsText } from '../services/evaluation/stats.ts'
import { withServices } from './context.ts'

export function addStatsCommand(program: Command): void {
  program
    .command('stats')
    .requiredOption('--project <file>', 'a project')
    .description('acceptance, seconds a decision, progress')
    .addHelpText('after', '\nExample:\n  gromatic stats --project photos.gromatic --json')
    .action((options: { project: string }, command: Command) =>
      withServices(command, async ({ print }) => {
        const stats = projectStats(resolve(options.project))
        print(stats, statsText(stats))
      }),
    )
}
