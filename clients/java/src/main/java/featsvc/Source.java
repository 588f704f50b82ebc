package featsvc;

import java.util.Iterator;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** The caller's questions, each read when there is room for it, by a thread of its own: answers do not wait for it. */
final class Source<Q> implements AutoCloseable {
    private final Iterable<Question<Q>> questions;
    private final Runnable arrived;
    private final ExecutorService thread = Executors.newSingleThreadExecutor(run -> {
        Thread made = new Thread(run, "featsvc-source");
        made.setDaemon(true);
        return made;
    });
    private Iterator<Question<Q>> iterator;
    private boolean drawing;
    private boolean over;
    private volatile Drawn<Q> drawn;

    /** A question; or, without one, the end, with what the caller's own code has thrown, if it has. */
    private record Drawn<Q>(Question<Q> question, Throwable thrown) {}

    /** Calls {@code arrived}, in its own thread, whenever there is something to take. */
    Source(Iterable<Question<Q>> questions, Runnable arrived) {
        this.questions = questions;
        this.arrived = arrived;
    }

    /** Wants one more, unless there is one to come already; false where there is none. */
    boolean draw() {
        if (!drawing && !over) {
            drawing = true;
            thread.execute(this::read);
        }
        return !over;
    }

    /** What has been read; null where nothing has. Throws what the caller's own code has thrown. */
    Question<Q> taken() {
        Drawn<Q> come = drawn;
        if (come == null) {
            return null;
        }
        drawn = null;
        drawing = false;
        over = come.question() == null;
        if (come.thrown() instanceof RuntimeException exception) {
            throw exception;
        }
        if (come.thrown() instanceof Error error) {
            throw error;
        }
        return come.question();
    }

    /** Interrupts the caller's own code, if it is being waited for. */
    @Override
    public void close() {
        thread.shutdownNow();
    }

    private void read() {
        try {
            if (iterator == null) {
                iterator = questions.iterator();
            }
            drawn = new Drawn<>(iterator.hasNext() ? iterator.next() : null, null);
        } catch (RuntimeException | Error e) {
            drawn = new Drawn<>(null, e);
        }
        arrived.run();
    }
}
