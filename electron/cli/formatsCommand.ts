/** `formats`: which formats there are, and what each keeps and loses. */
import type { Command } from 'commander'
import { withServices } from './context.ts'

export function addFormatsCommand(program: Command): void {
  program
    .command('formats')
    .description('the formats that are read and written, and what each keeps and loses')
    .addHelpText('after', '\nExample:\n  gromatic formats --json')
    .action((_options: object, command: Command) =>
      withServices(command, async ({ services, print }) => {
        const formats = await services.client.call('transfer.formats', {})
        const lines = formats.map(
          ({ id, name, shape, extension, keeps, loses }) =>
            `${id}  (${name}; ${shape === 'folder' ? 'a folder' : `a ${extension} file`})\n  keeps: ${keeps}\n  loses: ${loses}`,
        )
        print(formats, `All are read (file, folder or zip) and written.\n\n${lines.join('\n')}`)
      }),
    )
}
