/*
 * The lease protocol of one key, as two clusters speak it to one Redis.
 *
 * Three transactions (two in cluster 0, one in cluster 1; with -DPAIR one in each) take the lock again and again, for ever.
 * Every step below is one atomic action of one process, so that any interleaving is explored; the
 * search is exhaustive. Faults may strike cluster 0 at any moment: a connection dies (what was sent on it may
 * still be executed later, in order, or never; what was answered is lost), a whole cluster dies
 * (shared memory gone, the file of tokens stays), time passes. The death of a worker alone is a
 * dead connection: leases live in shared memory.
 *
 * Time. Only remaining times are kept, in ticks: of the key in Redis (ttl), of the lease as its
 * cluster counts it (left), of the request that is under way (qleft: what an answer would be worth,
 * counted from its queueing). A tick lowers all of them. Deadline and expiry coincide in the worst
 * case, so the order is as tight as it can be.
 *
 * Tokens are drawn from a small pool; a token counts as fresh when nothing refers to it any more,
 * which is what unguessable means here.
 *
 * What is checked
 *   mutual exclusion  two clusters never hold validly at once: a hold is valid while its holder's
 *                     own deadline check would pass                                  (Monitor)
 *   no lost update    nobody commits over a commit made since it was let in          (Commit)
 *   flush             no release is sent under a commit that is not flushed          (SendRelease)
 *   no orphan         when nothing is under way and nobody wants the key, it is free, without
 *                     waiting for its TTL, unless a cluster died                     (Monitor)
 *   renewal           a token whose interest is gone is not kept alive               (SendExtend)
 *   progress          with -DPROGRESS: every run gets back to rest. Time then passes freely
 *                     FREE_TICKS times and otherwise only when nothing else can happen.
 *
 * How barriers work is chosen by -DNOT_AFTER: CLIENT KILL is denied, requests of a dead connection
 * may be executed at any later time, except acquires past their not_after, which the cluster waits
 * for before it speaks again. Without it CLIENT KILL of the old connection ends it.
 *
 * Planted faults, one at a time, that the search must find: see run.
 */

#ifndef T
#define T 2 /* life of a lease, in ticks */
#endif
#define MARGIN 1 /* must be left at grant and commit */
#ifndef POOL
#define POOL 2 /* tokens per cluster */
#endif
#ifndef WIRE
#define WIRE 2 /* requests under way per connection */
#endif

#define IDLE 0    /* transaction: outside */
#define QUEUED 1  /* counted as interest, waits for the gate */
#define WAITING 2 /* has the gate, waits for the lease */
#define HOLDING 3 /* has the lock */
#define CHECKED 4 /* has passed the check before commit */
#define FLUSHING 5 /* committed, gate given up, not yet durable */

#define ABSENT 0
#define ACQUIRING 1 /* acquire on the wire */
#define TAKEN 2     /* somebody else has it */
#define HELD 3
#define OWED 4      /* a release is due for tok, not on the wire */
#define RELEASING 5 /* release of tok on the wire */
#define UNKNOWN 6   /* the connection died over an acquire */

#define ACQ 1 /* requests */
#define EXT 2
#define REL 3
#define GRANTED 4 /* answers */
#define REFUSED 5
#define OURS 6
#define GONE 7
#define DELETED 8

byte val, ttl; /* the key in Redis */

/* per cluster: the lease as shared memory has it */
byte lst[2], tok[2], prev[2], left[2], qleft[2], interest[2];
bool up[2], extending[2], prev_sent[2], gate[2];

/* per connection: requests, those of the connection before it, answers */
chan req[2] = [WIRE] of { byte, byte, byte };
chan old[2] = [WIRE] of { byte, byte, byte };
chan rep[2] = [WIRE] of { byte, byte };

/* per transaction */
byte st[3], mytok[3];
bool stale[3];

bool died;
byte faults;
bool started[3];
#ifdef PROGRESS
#define ONCE
byte ticks, yields;
bool at_rest;
bool woken[2];
#endif

#define CLUSTER(i) (i / 2)
#define IN(i) (st[i] == HOLDING || st[i] == CHECKED)
#define VALID(i) \
    (IN(i) && lst[CLUSTER(i)] == HELD && tok[CLUSTER(i)] == mytok[i] && left[CLUSTER(i)] > 0)
#define ANY0(p) (p(0) || p(1))
#define ANY1(p) (p(2))
#define ANY(c, p) ((c == 0 && ANY0(p)) || (c == 1 && ANY1(p)))
#define IS_WAITING(i) (st[i] == WAITING)
#define IS_FLUSHING(i) (st[i] == FLUSHING)
#define UNFLUSHED(c) ANY(c, IS_FLUSHING)

#define MENTIONS(q, t)                                                                         \
    (q??[ACQ, eval(t), _] || q??[EXT, eval(t), _] || q??[REL, eval(t), _] || q??[ACQ, _, eval(t)])
#define ANSWERS(q, t)                                                                          \
    (q??[GRANTED, eval(t)] || q??[REFUSED, eval(t)] || q??[OURS, eval(t)] || q??[GONE, eval(t)] || \
     q??[DELETED, eval(t)])
#define FREE(c, t)                                                                             \
    (val != t && tok[c] != t && prev[c] != t && mytok[0] != t && mytok[1] != t &&              \
     mytok[2] != t && !MENTIONS(req[c], t) && !MENTIONS(old[c], t) && !ANSWERS(rep[c], t))
#define TOKEN(c, n) (c * POOL + n)

#define QUIET                                                                                  \
    (st[0] == IDLE && st[1] == IDLE && st[2] == IDLE && lst[0] == ABSENT && lst[1] == ABSENT && \
     prev[0] == 0 && prev[1] == 0 && empty(req[0]) && empty(req[1]) && empty(old[0]) &&        \
     empty(old[1]) && empty(rep[0]) && empty(rep[1]))

#define DRAWABLE(c) (FREE(c, TOKEN(c, 1)) || FREE(c, TOKEN(c, 2)) || FREE(c, TOKEN(c, POOL)))
#define CAN_SEND(c) (up[c] && nfull(req[c]))
#define PREV_IN_ORDER(c) (prev[c] == 0 || prev_sent[c])
/* There is room for one earlier token: while its release is unacknowledged no other may take it. */
#ifdef PLANT_PREV_FORGOTTEN
#define NONE_FORGOTTEN(c) true
#else
#define NONE_FORGOTTEN(c) (prev[c] == 0)
#endif
#define IS_ACTIVE(i) (IN(i) || st[i] == FLUSHING)
#define CROWDED(c) (interest[c] > 0 && !ANY(c, IS_ACTIVE))

#ifdef PLANT_INTEREST_BEFORE_FLUSH
#define UNFLUSHED_SEEN(c) false
#else
#define UNFLUSHED_SEEN(c) UNFLUSHED(c)
#endif
#ifdef PLANT_RENEW_WITHOUT_INTEREST
#define RENEWABLE(c) true
#define GIVEN_UP(c) false
#else
#define RENEWABLE(c) (interest[c] > 0)
#endif
#ifdef PLANT_YIELD_UNDER_HOLD
#define GIVEN_UP(c) (interest[c] == 0 || !UNFLUSHED(c))
#endif
#ifndef GIVEN_UP
#define GIVEN_UP(c) (interest[c] == 0 || (CROWDED(c) && MAY_YIELD))
#endif

#ifdef PROGRESS
#define MAY_START(i) !started[i]
#define MAY_CANCEL(i) (i == 1)
#define MAY_FAIL (faults < FAULTS)
#define MAY_YIELD (yields < YIELDS)
#define MAY_PASS (ticks < FREE_TICKS)
#define WOKEN(c) (val == 0 || woken[c])
#define COUNT_FAULT faults++
#define COUNT_TICK ticks++
#define REST (started[0] && started[1] && started[2] && QUIET && val == 0)
#else
#ifdef ONCE
#define MAY_START(i) !started[i]
#else
#define MAY_START(i) true
#endif
#define MAY_CANCEL(i) true
#define MAY_FAIL (faults < FAULTS)
#define MAY_YIELD true
#define MAY_PASS true
#define WOKEN(c) true
#define COUNT_FAULT faults++
#define COUNT_TICK skip
#endif

/* ---------------------------------------------------------------- Redis */

inline Execute(q, answer) {
        q?kind, t, p;
        if
        :: kind == ACQ ->
            if
            :: val == 0 || val == t || (p != 0 && val == p) ->
                val = t;
                ttl = T;
                kind = GRANTED
            :: else -> kind = REFUSED
            fi
        :: kind == EXT ->
            if
            :: val == t ->
                ttl = T;
                kind = OURS
            :: else -> kind = GONE
            fi
        :: kind == REL ->
            if
#ifdef PLANT_BLIND_RELEASE
            :: true ->
#else
            :: val == t ->
#endif
                val = 0;
                ttl = 0
            :: else
            fi;
            kind = DELETED
        fi;
        if
        :: answer -> rep[c]!kind, t
        :: else
        fi;
        kind = 0;
        t = 0;
        p = 0
}

proctype Redis(byte c) {
    byte kind, t, p;
end:
    do
    :: d_step {
        nempty(req[c]) && nfull(rep[c]) ->
        Execute(req[c], true)
    }
    :: d_step {
        nempty(old[c]) ->
        Execute(old[c], false)
    }
    :: d_step {
        nempty(old[c]) -> /* never arrives */
        old[c]?_, _, _
    }
    od
}

/* --------------------------------------------------------------- worker */

inline SendAcquire(c) {
    req[c]!ACQ, tok[c], prev[c];
    qleft[c] = T;
    lst[c] = ACQUIRING
}

inline SendRelease(c, t) {
    assert(!UNFLUSHED(c));
    req[c]!REL, t, 0
}

inline SendExtend(c) {
    req[c]!EXT, tok[c], 0;
    qleft[c] = T;
    extending[c] = true
}

inline Draw(c) {
    if
    :: FREE(c, TOKEN(c, 1)) -> tok[c] = TOKEN(c, 1)
    :: !FREE(c, TOKEN(c, 1)) && FREE(c, TOKEN(c, 2)) -> tok[c] = TOKEN(c, 2)
    :: else -> tok[c] = TOKEN(c, POOL)
    fi
}

inline Receive(c) {
    rep[c]?kind, t;
    if
    :: kind == GRANTED && lst[c] == ACQUIRING && t == tok[c] ->
        if
        :: interest[c] > 0 && qleft[c] > MARGIN ->
            lst[c] = HELD;
            left[c] = qleft[c]
        :: else -> lst[c] = OWED
        fi;
        qleft[c] = 0
    :: kind == REFUSED && lst[c] == ACQUIRING && t == tok[c] ->
        lst[c] = TAKEN;
        qleft[c] = 0
    :: kind == OURS ->
        if
        :: lst[c] == HELD && t == tok[c] && qleft[c] > left[c] && left[c] > 0 ->
            left[c] = qleft[c]
#ifdef PLANT_RENEW_AFTER_RELEASE
        :: lst[c] == OWED && t == tok[c] && qleft[c] > MARGIN ->
            lst[c] = HELD;
            left[c] = qleft[c]
#endif
        :: else
        fi;
        EndExtend(c)
    :: kind == GONE ->
        if
        :: lst[c] == HELD && t == tok[c] -> Lose(c)
        :: else
        fi;
        EndExtend(c)
    :: kind == DELETED && t == prev[c] ->
        prev[c] = 0;
        prev_sent[c] = false
    :: kind == DELETED && t != prev[c] && lst[c] == RELEASING && t == tok[c] ->
        lst[c] = ABSENT;
        tok[c] = 0
    :: else
    fi;
    kind = 0;
    t = 0
}

inline EndExtend(c) {
    extending[c] = false;
    if
    :: lst[c] != ACQUIRING -> qleft[c] = 0
    :: else
    fi
}

inline Lose(c) {
    lst[c] = OWED;
    left[c] = 0
}

proctype Worker(byte c) {
    byte kind, t;
end:
    do
    :: d_step { nempty(rep[c]) -> Receive(c) }

    /* a transaction waits: a token of its own for every acquisition */
    :: d_step {
        lst[c] == ABSENT && ANY(c, IS_WAITING) && CAN_SEND(c) && DRAWABLE(c) && PREV_IN_ORDER(c) ->
        Draw(c);
        SendAcquire(c)
    }
    /* the same while the release before it is on the wire */
#ifdef PLANT_TOKEN_REUSE
    :: d_step {
        (lst[c] == RELEASING || lst[c] == OWED) && ANY(c, IS_WAITING) && CAN_SEND(c) ->
        SendAcquire(c)
    }
#else
    :: d_step {
        lst[c] == RELEASING && ANY(c, IS_WAITING) && CAN_SEND(c) && DRAWABLE(c) &&
            NONE_FORGOTTEN(c) ->
        prev[c] = tok[c];
        prev_sent[c] = true;
        Draw(c);
        SendAcquire(c)
    }
#endif
    /* somebody else has it: again, or no more */
    :: d_step {
        lst[c] == TAKEN && interest[c] > 0 && CAN_SEND(c) && PREV_IN_ORDER(c) && WOKEN(c) ->
#ifdef PROGRESS
        woken[c] = false;
#endif
        SendAcquire(c)
    }
    :: d_step {
        lst[c] == TAKEN && interest[c] == 0 ->
        lst[c] = ABSENT;
        tok[c] = 0
    }
    /* the connection died over an acquire: ask again, or free what it may have taken */
    :: d_step {
        lst[c] == UNKNOWN && interest[c] > 0 && CAN_SEND(c) && PREV_IN_ORDER(c) ->
        SendAcquire(c)
    }

    /* held: renewed while wanted, lost at its deadline, given up when nobody wants it or at the end
     * of a tenure between two holders */
    :: d_step {
        lst[c] == HELD && RENEWABLE(c) && left[c] > 0 && left[c] < T && !extending[c] &&
            CAN_SEND(c) ->
        SendExtend(c)
    }
    /* releases: sent again on every connection until one is acknowledged */
    :: d_step {
        (lst[c] == OWED || (lst[c] == HELD && (left[c] == 0 || GIVEN_UP(c))) ||
         (lst[c] == UNKNOWN && interest[c] == 0)) &&
            CAN_SEND(c) && PREV_IN_ORDER(c) && !UNFLUSHED_SEEN(c) ->
#ifdef PROGRESS
        if
        :: lst[c] == HELD && left[c] > 0 && interest[c] > 0 -> yields++
        :: else
        fi;
#endif
        SendRelease(c, tok[c]);
#ifdef PLANT_RELEASE_ONCE
        lst[c] = ABSENT;
        tok[c] = 0;
#else
        lst[c] = RELEASING;
#endif
        left[c] = 0
    }
    :: d_step {
        prev[c] != 0 && !prev_sent[c] && CAN_SEND(c) && !UNFLUSHED_SEEN(c) ->
        SendRelease(c, prev[c]);
        prev_sent[c] = true
    }
#ifdef PLANT_RENEW_AFTER_RELEASE
    /* a release of unknown fate, and the token is asserted again */
    :: d_step {
        lst[c] == OWED && ANY(c, IS_WAITING) && CAN_SEND(c) && !extending[c] ->
        SendExtend(c)
    }
#endif
    od
}

/* ---------------------------------------------------------- transactions */

inline Leave(i) {
    interest[CLUSTER(i)]--;
    st[i] = IDLE;
    mytok[i] = 0;
    stale[i] = false
}

/* Whoever is inside while another commits must not commit any more. */
inline Commit(i) {
    assert(!stale[i]);
    stale[0] = stale[0] || (i != 0 && IN(0));
    stale[1] = stale[1] || (i != 1 && IN(1));
    stale[2] = stale[2] || (i != 2 && IN(2));
    st[i] = FLUSHING;
    gate[CLUSTER(i)] = false;
#ifdef PLANT_INTEREST_BEFORE_FLUSH
    interest[CLUSTER(i)]--
#endif
}

proctype Transaction(byte i) {
end:
    do
    :: d_step {
        st[i] == IDLE && MAY_START(i) ->
        interest[CLUSTER(i)]++;
        if
        :: i == 2 -> /* alone in its cluster, the gate is free */
            gate[1] = true;
            st[i] = WAITING
        :: else -> st[i] = QUEUED
        fi
#ifdef ONCE
        ;
        started[i] = true
#endif
    }
    :: d_step {
        st[i] == QUEUED && !gate[CLUSTER(i)] ->
        gate[CLUSTER(i)] = true;
        st[i] = WAITING
    }
    :: d_step {
        st[i] == WAITING && lst[CLUSTER(i)] == HELD && left[CLUSTER(i)] > MARGIN ->
        mytok[i] = tok[CLUSTER(i)];
        st[i] = HOLDING
    }
    /* cancelled */
    :: d_step {
        st[i] == QUEUED && MAY_CANCEL(i) ->
        Leave(i)
    }
    :: d_step {
        st[i] == WAITING && MAY_CANCEL(i) ->
        gate[CLUSTER(i)] = false;
#ifdef PLANT_INTEREST_KEPT
        interest[CLUSTER(i)]++;
#endif
        Leave(i)
    }
    :: d_step {
        st[i] == HOLDING && (MAY_CANCEL(i) || !VALID(i)) ->
        gate[CLUSTER(i)] = false;
        Leave(i)
    }
    /* the check before commit; short of the margin it waits for a renewal */
    :: d_step {
#ifdef PLANT_NO_CHECK
        st[i] == HOLDING ->
#else
        st[i] == HOLDING && VALID(i) && left[CLUSTER(i)] > MARGIN ->
#endif
        st[i] = CHECKED
    }
#ifdef PLANT_RELEASE_BEFORE_COMMIT
    :: d_step {
        st[i] == CHECKED && lst[CLUSTER(i)] == HELD ->
        lst[CLUSTER(i)] = OWED
    }
#endif
    :: d_step {
        st[i] == CHECKED ->
        Commit(i)
    }
    :: d_step {
        st[i] == FLUSHING ->
#ifdef PLANT_INTEREST_BEFORE_FLUSH
        interest[CLUSTER(i)]++;
#endif
        Leave(i)
    }
    od
}

/* ----------------------------------------------------- faults and time */

/* What was sent may still be executed, what was answered is lost. */
inline Cut(c) {
    do
    :: nempty(req[c]) ->
        req[c]?kind, t, p;
        old[c]!kind, t, p
    :: empty(req[c]) -> break
    od;
    do
    :: nempty(rep[c]) -> rep[c]?_, _
    :: empty(rep[c]) -> break
    od;
    up[c] = false;
    extending[c] = false;
    prev_sent[c] = false;
    qleft[c] = 0;
    if
    :: lst[c] == ACQUIRING -> lst[c] = UNKNOWN
    :: lst[c] == RELEASING -> lst[c] = OWED
    :: else
    fi;
    kind = 0;
    t = 0;
    p = 0
}

/* Shared memory is gone; the file of tokens, written before each request, is not. */
inline Die(c) {
    Cut(c);
    if
    :: lst[c] != ABSENT -> lst[c] = OWED
    :: else
    fi;
    left[c] = 0;
    interest[c] = 0;
    gate[c] = false;
    if
    :: c == 0 ->
        st[0] = IDLE;
        mytok[0] = 0;
        stale[0] = false;
        st[1] = IDLE;
        mytok[1] = 0;
        stale[1] = false
    :: else ->
        st[2] = IDLE;
        mytok[2] = 0;
        stale[2] = false
    fi;
    died = true
}

/* Nothing of the old connection is executed any more; or, where CLIENT KILL is denied, no acquire:
 * its not_after has passed. */
inline Connect(c) {
#ifndef PLANT_NO_BARRIER
    t = len(old[c]);
    do
    :: t > 0 ->
        old[c]?kind, p, q;
        t--;
#ifdef NOT_AFTER
        if
        :: kind != ACQ -> old[c]!kind, p, q
        :: else
        fi
#endif
    :: t == 0 -> break
    od;
#endif
    up[c] = true;
    kind = 0;
    t = 0;
    p = 0;
    q = 0
}

inline Tick() {
    if
    :: ttl > 0 ->
        ttl--;
        if
        :: ttl == 0 -> val = 0
        :: else
        fi
    :: else
    fi;
    Age(0);
    Age(1)
}

inline Age(c) {
    if
    :: left[c] > 0 -> left[c]--
    :: else
    fi;
    if
    :: qleft[c] > 0 -> qleft[c]--
    :: else
    fi;
#ifdef PROGRESS
    woken[c] = true
#endif
}

/* What stands between check and commit is shorter than the margin: that is what it is for. */
#define IN_TIME(i) !(st[i] == CHECKED && left[CLUSTER(i)] <= 1)
#define RUNNING (ttl > 0 || left[0] > 0 || left[1] > 0 || qleft[0] > 0 || qleft[1] > 0)

proctype World() {
    byte kind, t, p, q;
end:
    do
    :: d_step { up[0] && empty(old[0]) && MAY_FAIL -> Cut(0); COUNT_FAULT }
    :: d_step { !up[0] -> Connect(0) }
#ifndef NO_DEATH
    :: d_step { up[0] && empty(old[0]) && !died && MAY_FAIL -> Die(0); COUNT_FAULT }
#endif
    :: d_step {
        RUNNING && IN_TIME(0) && IN_TIME(1) && IN_TIME(2) && MAY_PASS ->
        Tick();
        COUNT_TICK
    }
#ifdef PROGRESS
    :: timeout ->
        d_step {
            if
            :: RUNNING || !woken[0] || !woken[1] -> Tick()
            :: else -> assert(REST)
            fi
        }
#endif
    od
}

/* ------------------------------------------------------------- properties */

proctype Monitor() {
end:
    do
    :: atomic { VALID(2) && (VALID(0) || VALID(1)) -> assert(false) }
    :: atomic { QUIET && val != 0 && !died -> assert(false) }
#ifdef PROGRESS
    :: d_step {
        REST && !at_rest ->
        at_rest = true
    }
#endif
    od
}

init {
    atomic {
        up[0] = true;
        up[1] = true;
        run Redis(0);
        run Redis(1);
        run Worker(0);
        run Worker(1);
        run Transaction(0);
#ifndef PAIR
        run Transaction(1);
#endif
        run Transaction(2);
        run World();
        run Monitor()
    }
}

#ifdef PROGRESS
/* The formula language knows no channel functions, hence the flag. */
ltl rest { <> at_rest }
#endif
