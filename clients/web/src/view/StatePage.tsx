/** The server: its workers, its queue, what it keeps, and its models with their licences. */

import { useEffect, useState } from "preact/hooks";
import { type Cache, type Model, type State, state } from "../api/server.ts";
import { familyOf } from "../state/models.ts";
import { repeated } from "../state/polling.ts";
import { attempt, session } from "../state/session.ts";
import { useStore } from "../state/store.ts";
import { size } from "./Numbers.tsx";
import { Problem } from "./Problem.tsx";

const EVERY_MS = 3000;
const OF_WORKER = ["Device", "State", "Precision", "Answered", "Restarts", "Models in memory"];

export function StatePage() {
  const { key, keysGiven } = useStore(session);
  const [told, setTold] = useState<State | null>(null);
  const [tries, setTries] = useState(0);

  useEffect(() => {
    if (!key) return;
    return repeated(EVERY_MS, async (signal) => {
      if (!document.hidden) await attempt("state", async () => setTold(await state(key, signal)));
      // A key that was refused would be refused again.
      return session.now.keyWanted === null;
    });
  }, [key, keysGiven, tries]);

  return (
    <div class="state">
      <Problem place="state" retry={() => setTries(tries + 1)} />
      {told && <Told {...told} />}
    </div>
  );
}

function Told({ status, models }: State) {
  // One machine needs no column.
  const hasMachines = status.workers.some(({ machine }) => machine !== "");
  return (
    <>
      <dl>
        <dt>Version</dt>
        <dd>{status.version}</dd>
        <dt>Up for</dt>
        <dd>{duration(status.uptime_s)}</dd>
        <dt>Waiting requests</dt>
        <dd>{status.queued}</dd>
        <dt>Requests so far</dt>
        <dd>{status.requests}</dd>
      </dl>
      <h2>Workers</h2>
      <Table head={["Worker", ...(hasMachines ? ["Machine"] : []), ...OF_WORKER]}>
        {status.workers.map((worker) => [
          String(worker.id),
          ...(hasMachines ? [worker.machine] : []),
          worker.device,
          worker.state,
          worker.precision,
          worker.items,
          String(worker.restarts),
          worker.models.map(({ key, size_bytes }) => `${key} (${size(Number(size_bytes))})`).join(", "),
        ])}
      </Table>
      <h2>What is kept</h2>
      <Table head={["Of", "What", "Entries", "Size", "Limit", "Found", "Not found"]}>
        {[
          ...(status.images ? [cacheRow("the server", status.images)] : []),
          ...status.workers.flatMap((worker) =>
            worker.caches.map((each) => cacheRow(`worker ${worker.id}`, each)),
          ),
        ]}
      </Table>
      <h2>Models</h2>
      <ModelTable models={models.models.filter(({ available }) => available)} />
      <details>
        <summary>Others, whose weights are not on the server</summary>
        <ModelTable models={models.models.filter(({ available }) => !available)} />
      </details>
    </>
  );
}

function ModelTable({ models }: { models: readonly Model[] }) {
  return (
    <Table head={["Model", "Service", "Loaded", "Size", "Licence"]}>
      {models.map((model) => [
        model.key,
        familyOf(model.family).toUpperCase(),
        model.loaded_workers ? `by ${model.loaded_workers}` : "",
        Number(model.size_bytes) ? size(Number(model.size_bytes)) : "",
        model.license,
      ])}
    </Table>
  );
}

function cacheRow(owner: string, cache: Cache): string[] {
  const sizes = [cache.size_bytes, cache.limit_bytes].map((each) => size(Number(each)));
  return [owner, cache.name, cache.entries, ...sizes, cache.hits, cache.misses];
}

function duration(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1) return `${Math.floor(seconds)} s`;
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function Table({ head, children }: { head: readonly string[]; children: readonly (readonly string[])[] }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, by keys too
    <section class="scroll" tabIndex={0} aria-label={`Table of ${head[0]}`}>
      <table>
        <thead>
          <tr>
            {head.map((each) => (
              <th scope="col" key={each}>
                {each}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {children.map((row) => (
            <tr key={row.join()}>
              {row.map((cell, index) => (
                <td key={head[index]}>{cell}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
