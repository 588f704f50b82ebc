package featsvc;

import java.util.Iterator;

/**
 * Answers as they are done, for one loop in one thread. {@code next} throws a {@link FeatsvcException} where the connection
 * fails for good, so that some questions stay without answer. Closing ends what is under way; a loop that runs to its end
 * needs no closing.
 *
 * @param <R> the replies
 */
public interface Answers<R> extends Iterator<Answer<R>>, Iterable<Answer<R>>, AutoCloseable {
    @Override
    default Iterator<Answer<R>> iterator() {
        return this;
    }

    @Override
    void close();
}
