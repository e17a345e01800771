/** What to import: a path, chosen in the list or typed, and the format it is in. */
import { Info } from 'lucide-react'
import { useEffect } from 'react'
import { useTranslation } from 'react-i18next'
import { FormatName } from '../../../electron/contract/api.ts'
import { chooseLater, lookAt, setFormat, setPath } from '../../actions/import.ts'
import { type FileEntry, FileList, PathField, useFolder } from '../../components/FileBrowser.tsx'
import { FormatFacts, useFormats } from '../../components/FormatFacts.tsx'
import { useImport } from '../../stores/importing.ts'
import { useRecords } from '../../stores/records.ts'

const LOOK_AFTER_MS = 300
/** Pictures, projects and what lies beside a project are no annotations. */
const mayBeSource = ({ kind, name }: FileEntry): boolean =>
  kind === 'directory' || (kind === 'other' && !name.includes('.gromatic-'))
const parentOf = (path: string): string => path.replace(/[\\/][^\\/]*[\\/]?$/, '') || '/'

export function SourceStep() {
  const { t } = useTranslation()
  const { path, dropped, sniffed } = useImport()
  const imagesDir = useRecords((state) => state.project?.imagesDir)
  const folder = useFolder(({ homeDir }) => (path === '' ? (imagesDir ?? homeDir) : parentOf(path)))
  const { listing } = folder

  const go = async (to: string) => {
    const next = await folder.submit(to)
    if (next !== null) void lookAt(next.path)
  }
  // the first listing says where we are, unless a path is there already
  const first = listing?.path
  useEffect(() => {
    if (first !== undefined && useImport.getState().path === '') void lookAt(first)
  }, [first])
  // what was dropped is chosen as soon as its folder is shown
  useEffect(() => {
    const entry = listing?.entries.find(({ name }) => name === dropped)
    if (entry !== undefined) void lookAt(entry.path)
  }, [listing, dropped])
  // the list shows where the path is, without taking the field from the hand
  const { go: list } = folder
  useEffect(() => {
    const around = [path, parentOf(path)]
    if (sniffed !== null && first !== undefined && !around.includes(first)) void list(parentOf(path))
  }, [sniffed, path, first, list])
  // typed or pasted: looked at once the hand rests
  useEffect(() => {
    if (path.trim() === '') return
    const timer = setTimeout(() => {
      const { sniffed, problem } = useImport.getState()
      if (sniffed === null && problem === null) void lookAt(path)
    }, LOOK_AFTER_MS)
    return () => clearTimeout(timer)
  }, [path])
  const enter = (entry: FileEntry) => (entry.kind === 'directory' ? void go(entry.path) : void lookAt(entry.path))
  return (
    <>
      {dropped === null ? null : (
        <p className="note-line">
          <Info aria-hidden="true" size={15} />
          <span>{t('import.dropped', { name: dropped })}</span>
        </p>
      )}
      <PathField folder={folder} onGo={(to) => void go(to)} onType={setPath} path={path} />
      <div className="places">
        {imagesDir === undefined ? null : (
          <button className="button small" onClick={() => void go(imagesDir)} type="button">
            {t('import.projectFolder')}
          </button>
        )}
        {folder.places === null ? null : (
          <button
            className="button small"
            onClick={() => folder.places && void go(folder.places.homeDir)}
            type="button"
          >
            {t('files.home')}
          </button>
        )}
      </div>
      <FileList
        chosen={path}
        empty={t('import.nothingHere')}
        entries={listing?.entries.filter(mayBeSource) ?? []}
        loaded={listing !== null}
        onEnter={enter}
      />
      {folder.problem === null ? null : <p className="problem-text">{folder.problem}</p>}
      <FormatChoice />
      <Numbers />
    </>
  )
}

/** Results of a model are numbers of some COCO file: which one. */
function Numbers() {
  const { t } = useTranslation()
  const { format, choices } = useImport()
  if (format !== 'coco-results') return null
  const own = choices.instances === 'project'
  return (
    <div className="form-row">
      <label htmlFor="import-instances">{t('import.instances')}</label>
      <div>
        <input
          className="field path"
          disabled={own}
          id="import-instances"
          onChange={(event) => chooseLater({ instances: event.target.value })}
          placeholder={t('import.instancesEmpty')}
          spellCheck={false}
          value={own ? '' : choices.instances}
        />
        <label className="check">
          <input
            checked={own}
            onChange={(event) => chooseLater({ instances: event.target.checked ? 'project' : '' })}
            type="checkbox"
          />
          {t('import.instancesProject')}
        </label>
      </div>
    </div>
  )
}

function FormatChoice() {
  const { t } = useTranslation()
  const { format, sniffed } = useImport()
  const formats = useFormats()
  const likely = sniffed?.candidates.map((candidate) => candidate.format) ?? []
  const nameOf = (id: FormatName): string => formats.find((known) => known.id === id)?.name ?? id
  const rest = formats.map(({ id }) => id).filter((id) => !likely.includes(id))
  return (
    <div className="form-row">
      <label htmlFor="import-format">{t('transfer.format')}</label>
      <select
        className="field"
        id="import-format"
        onChange={(event) => setFormat(event.target.value === 'auto' ? 'auto' : FormatName.parse(event.target.value))}
        value={format}
      >
        {likely.length > 0 ? null : (
          <option value="auto">
            {sniffed === null ? '–' : t(sniffed.isZip ? 'import.findOut' : 'import.notKnown')}
          </option>
        )}
        {likely.map((id) => (
          <option key={id} value={id}>
            {t('import.looksLike', { name: nameOf(id) })}
          </option>
        ))}
        {rest.map((id) => (
          <option key={id} value={id}>
            {nameOf(id)}
          </option>
        ))}
      </select>
      {format === 'auto' ? (
        <p className="dim">{t('import.lookHint')}</p>
      ) : (
        <FormatFacts format={formats.find(({ id }) => id === format)} />
      )}
    </div>
  )
}
