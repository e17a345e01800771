/** Where the application keeps what belongs to the person and not to a project. */
import { homedir } from 'node:os'
import { join } from 'node:path'

/** The per-user data folder: `GROMATIC_HOME`, or the platform's own place. */
export function defaultHomeDir(
  env: NodeJS.ProcessEnv = process.env,
  platform: NodeJS.Platform = process.platform,
): string {
  if (env.GROMATIC_HOME) return env.GROMATIC_HOME
  if (platform === 'win32') return join(env.APPDATA ?? join(homedir(), 'AppData', 'Roaming'), 'Gromatic')
  if (platform === 'darwin') return join(homedir(), 'Library', 'Application Support', 'Gromatic')
  return join(env.XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'gromatic')
}

/** The folders inside it. */
export function homeFolders(homeDir: string) {
  return {
    settings: join(homeDir, 'settings.json'),
    recent: join(homeDir, 'recent.json'),
    models: join(homeDir, 'models'),
    projects: join(homeDir, 'projects'),
    /** Can be deleted at any time. */
    cache: join(homeDir, 'cache'),
    demoModels: join(homeDir, 'cache', 'models'),
    pictures: join(homeDir, 'cache', 'images'),
  }
}
