package featsvc;

import featsvc.v1.Timing;

/**
 * The answer to one question of many.
 *
 * @param <R> its reply
 * @param id the caller's name of the question
 * @param response the reply; null where there is an error
 * @param error why there is none, else null; other questions are not concerned
 * @param timing what the answer has taken; null where the server does not say
 */
public record Answer<R>(String id, R response, FeatsvcException error, Timing timing) {
    /**
     * The reply.
     *
     * @return the reply
     * @throws FeatsvcException where there is none
     */
    public R get() {
        if (error != null) {
            throw error;
        }
        return response;
    }
}
