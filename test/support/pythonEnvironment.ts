/**
 * A Python with packages of its own registry, for judging files by other people's code: the one that GROMATIC_PYTHON names,
 * else one made for the tests (once, kept in the system's temporary folder) where python3 and the network are there.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const has = (python: string, module: string): boolean => spawnSync(python, ['-c', `import ${module}`]).status === 0

/**
 * Path of a Python that can import `module` of the package, or why there is none. In CI nothing is made, nor anywhere a
 * package that is `large` (a GB with what it brings along).
 */
export function pythonWith(
  packageName: string,
  module: string,
  large = false,
): { python: string } | { reason: string } {
  const named = process.env.GROMATIC_PYTHON
  if (named !== undefined) return has(named, module) ? { python: named } : { reason: `${named} has no ${module}` }
  if (large) return { reason: `GROMATIC_PYTHON names no Python that has ${packageName}` }
  const folder = join(tmpdir(), `gromatic-python-${packageName.replaceAll(/[^a-z0-9]+/gi, '-')}`)
  const python = join(folder, 'bin', 'python')
  if (existsSync(python) && has(python, module)) return { python }
  if (process.env.CI !== undefined) return { reason: 'no Python environment is made in CI' }
  const making = `${folder}.${process.pid}`
  try {
    if (spawnSync('python3', ['-m', 'venv', making]).status !== 0)
      return { reason: 'python3 -m venv does not work here' }
    const install = spawnSync(
      join(making, 'bin', 'python'),
      [
        '-m',
        'pip',
        'install',
        '--quiet',
        '--disable-pip-version-check',
        '--timeout',
        '10',
        '--retries',
        '1',
        packageName,
      ],
      { timeout: 180_000 },
    )
    if (install.status !== 0) return { reason: `pip could not install ${packageName}` }
    rmSync(folder, { recursive: true, force: true })
    renameSync(making, folder)
    return has(python, module) ? { python } : { reason: `${packageName} has no ${module}` }
  } finally {
    rmSync(making, { recursive: true, force: true })
  }
}
