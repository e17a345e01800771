/** How the work on a project goes, counted over its rows. Reading only; takes a scan of the annotations. */
import { type Db, statement } from '../sqlite.ts'

export interface DecisionCounts {
  proposed: number
  accepted: number
  /** Accepted after a change of box, class or caption. */
  edited: number
  rejected: number
}

/** What became of one box that the model had proposed, or of one that people drew. */
export interface JudgedBox {
  imageId: number
  status: 'proposed' | 'accepted' | 'edited' | 'rejected'
  provenance: 'model' | 'human' | 'import'
  bboxXywh: [number, number, number, number]
  caption: string | null
  /** Null for boxes that no model saw. */
  modelBboxXywh: [number, number, number, number] | null
  modelCaption: string | null
  modelScore: number | null
}

export interface StatisticsRepository {
  progress(): { images: number; missing: number; proposedFor: number; done: number }
  /** Of the model's own boxes. */
  decisions(): DecisionCounts
  decisionsByCategory(): (DecisionCounts & { category: string | null })[]
  decisionsByModel(): (DecisionCounts & { modelHash: string | null })[]
  /** Boxes that people drew, and that came in with a file. */
  others(): { drawn: number; imported: number }
  /** Milliseconds of the decisions whose time is known, ascending. */
  decisionMs(): number[]
  /** Decisions a day (UTC), oldest first. */
  days(): { day: string; decisions: number }[]
  /** Every box of the images that are done, image by image. */
  judgedBoxes(): Iterable<JudgedBox>
}

const COUNTS = `
  count(*) FILTER (WHERE a.status = 'proposed') AS proposed, count(*) FILTER (WHERE a.status = 'accepted') AS accepted,
  count(*) FILTER (WHERE a.status = 'edited') AS edited, count(*) FILTER (WHERE a.status = 'rejected') AS rejected`

interface BoxRow {
  image_id: number
  status: JudgedBox['status']
  provenance: JudgedBox['provenance']
  x: number
  y: number
  w: number
  h: number
  caption: string | null
  model_x: number | null
  model_y: number | null
  model_w: number | null
  model_h: number | null
  model_caption: string | null
  model_score: number | null
}

export function statisticsRepository(db: Db): StatisticsRepository {
  return {
    progress: () =>
      statement(
        db,
        `SELECT count(*) AS images, count(*) FILTER (WHERE status = 'missing') AS missing,
           count(proposed_at) AS proposedFor, count(*) FILTER (WHERE done = 1) AS done FROM images`,
      ).get() as ReturnType<StatisticsRepository['progress']>,
    decisions: () =>
      statement(db, `SELECT ${COUNTS} FROM annotations a WHERE a.provenance = 'model'`).get() as DecisionCounts,
    decisionsByCategory: () =>
      statement(
        db,
        `SELECT c.name AS category, ${COUNTS} FROM annotations a LEFT JOIN categories c ON c.id = a.category_id
         WHERE a.provenance = 'model' GROUP BY a.category_id ORDER BY count(*) DESC, c.name NULLS LAST`,
      ).all() as (DecisionCounts & { category: string | null })[],
    decisionsByModel: () =>
      statement(
        db,
        `SELECT a.model_hash AS modelHash, ${COUNTS} FROM annotations a
         WHERE a.provenance = 'model' GROUP BY a.model_hash ORDER BY min(a.id)`,
      ).all() as (DecisionCounts & { modelHash: string | null })[],
    others: () =>
      statement(
        db,
        `SELECT count(*) FILTER (WHERE provenance = 'human') AS drawn,
           count(*) FILTER (WHERE provenance = 'import') AS imported FROM annotations`,
      ).get() as ReturnType<StatisticsRepository['others']>,
    decisionMs: () =>
      (
        statement(
          db,
          'SELECT decision_ms AS ms FROM annotations WHERE decision_ms IS NOT NULL ORDER BY decision_ms',
        ).all() as { ms: number }[]
      ).map(({ ms }) => ms),
    days: () =>
      statement(
        db,
        `SELECT date(decided_at / 1000, 'unixepoch') AS day, count(*) AS decisions FROM annotations
         WHERE decided_at IS NOT NULL GROUP BY day ORDER BY day`,
      ).all() as { day: string; decisions: number }[],
    *judgedBoxes() {
      const rows = statement(
        db,
        `SELECT a.* FROM images i JOIN annotations a ON a.image_id = i.id WHERE i.done = 1 ORDER BY i.id, a.id`,
      ).iterate() as Iterable<BoxRow>
      for (const row of rows) {
        const { model_x: x, model_y: y, model_w: w, model_h: h } = row
        yield {
          imageId: row.image_id,
          status: row.status,
          provenance: row.provenance,
          bboxXywh: [row.x, row.y, row.w, row.h],
          caption: row.caption,
          modelBboxXywh: x === null || y === null || w === null || h === null ? null : [x, y, w, h],
          modelCaption: row.model_caption,
          modelScore: row.model_score,
        }
      }
    },
  }
}
