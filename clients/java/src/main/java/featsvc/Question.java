package featsvc;

/**
 * One question of many.
 *
 * @param <Q> its request
 * @param id the caller's name of it, which its answer has
 * @param request what is asked
 */
public record Question<Q>(String id, Q request) {}
