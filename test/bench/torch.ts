/** The same work under PyTorch, where there is one: `GROMATIC_PYTHON` names a Python that has it, else `python3` is tried. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Missing } from './figure.ts'

/**
 * Seconds that a LLaMA-7B takes for a prompt in bf16.
 * @throws Missing where there is no Python with torch
 */
export async function torchPrefillSeconds(tokens: number, threads: number): Promise<number> {
  const python = process.env.GROMATIC_PYTHON ?? 'python3'
  const script = join(import.meta.dirname, 'torch_prefill.py')
  try {
    const { stdout } = await promisify(execFile)(python, [script, `${tokens}`, `${threads}`])
    return Number(stdout.trim())
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim().split('\n').at(-1) ?? String(error)
    throw new Missing(`torch could not be asked (${said}); GROMATIC_PYTHON names a Python that has it.`)
  }
}
