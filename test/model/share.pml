/*
 * The two leases of one product's key, as two clusters use them: an intent that the transactions of a
 * cluster share, and the key alone. The wire, its losses and time are the business of lease.pml;
 * here answers are never lost, and what is asked is interest, holders and who waits for whom.
 *
 * Cluster 0 has three transactions: two with an intent, one that wants the key alone; cluster 1 has
 * one of each. Each runs once, and one may give up while it waits. Every step is atomic, and all
 * interleavings are explored.
 *
 * The gate is PostgreSQL's: intents together, or one alone; an intent waits behind whoever waits to
 * have it alone. A transaction counts itself in the interest before it queues, and takes itself off
 * after the gate has gone, in a step of its own.
 *
 * The worker asks Redis for a lease when its waiter has the gate. A refusal is repeated only when the
 * key has changed: who is forgotten waits for ever, and the search finds him as an invalid end.
 *
 * What is checked
 *   exclusion   who has the key alone is alone, in both clusters                        (Critical)
 *   use         no lease is released while somebody uses it                             (Release)
 *   no wait for ever, no orphan   everybody comes to his end, and then the key is free
 *
 * Planted faults, that the search must find: see run.
 */

#define C 2
#define INTENT 0
#define ALONE 1
#define ABSENT 0
#define ASKED 1
#define HELD 2
#define LEAVING 3
#define AT(c, m) ((c) * 2 + (m))

byte interest[4], holders[4], wanted[4], lease[4];
bool refused[4]; /* since the key last changed */
byte gate[4];    /* who has the gate, by mode */
byte queue[C];   /* who waits at the gate to have it alone */
bool shares[C];  /* the value of the key: clusters that share it, */
byte owner = C;  /* or the one that has it alone */
byte critical[4];
byte running = 5;
byte cancels = 1; /* that may still come */

inline Changed() {
    refused[0] = false; refused[1] = false; refused[2] = false; refused[3] = false
}

proctype Transaction(byte c; byte m) {
    byte me = AT(c, m);
    byte other = AT(c, 1 - m);
    bool got = false;

    atomic { interest[me]++; if :: m == ALONE -> queue[c]++ :: else fi }
    if
    :: atomic { (m == INTENT && gate[other] == 0 && queue[c] == 0) -> gate[me]++ }
    :: atomic { (m == ALONE && gate[other] == 0 && gate[me] == 0) -> gate[me]++; queue[c]-- }
    :: atomic { cancels > 0 -> cancels--; if :: m == ALONE -> queue[c]-- :: else fi; goto leave } /* cancelled */
    fi;
    do
    :: atomic { lease[me] == HELD -> holders[me]++; got = true; break }
    :: atomic { lease[me] != HELD -> wanted[me]++ };
       if
       :: atomic { lease[me] == HELD -> wanted[me]-- }
       :: atomic { cancels > 0 -> cancels--; wanted[me]--; break } /* cancelled */
       fi
    od;
    if
    :: got ->
       d_step { critical[me]++;
       assert(m == INTENT || critical[AT(1 - c, INTENT)] + critical[AT(1 - c, ALONE)] + critical[other] == 0);
       assert(m == ALONE || critical[AT(1 - c, ALONE)] + critical[other] == 0) };
       critical[me]--
    :: else
    fi;
    atomic { gate[me]-- };
leave:
    atomic {
        if :: got -> holders[me]-- :: else fi;
        interest[me]--;
        running--
    }
}

#ifdef PLANT_PARTNER_KEPT
#define GIVE_WAY false
#else
#define GIVE_WAY true
#endif
#ifdef PLANT_RELEASED_IN_USE
#define FREE(l) true
#else
#define FREE(l) (holders[l] == 0)
#endif

#define Release(l) assert(holders[l] == 0); lease[l] = LEAVING

active [C] proctype Worker() {
end:
    do
#define WORK(m) \
    /* the lease in the other mode goes first, once nobody uses it */ \
    :: atomic { GIVE_WAY && wanted[AT(_pid, m)] > 0 && lease[AT(_pid, m)] == ABSENT && \
       lease[AT(_pid, 1 - m)] == HELD && holders[AT(_pid, 1 - m)] == 0 -> \
       Release(AT(_pid, 1 - m)) } \
    :: atomic { wanted[AT(_pid, m)] > 0 && lease[AT(_pid, m)] == ABSENT && \
       lease[AT(_pid, 1 - m)] == ABSENT && !refused[AT(_pid, m)] -> lease[AT(_pid, m)] = ASKED } \
    :: atomic { lease[AT(_pid, m)] == HELD && interest[AT(_pid, m)] == 0 -> Release(AT(_pid, m)) } \
    :: atomic { lease[AT(_pid, m)] == LEAVING -> \
           lease[AT(_pid, m)] = ABSENT; \
           if \
           :: m == INTENT -> shares[_pid] = false \
           :: else -> owner = C \
           fi; \
           Changed() \
       }
    WORK(INTENT)
    WORK(ALONE)
    /* Redis refuses, or grants */
    :: atomic { lease[AT(_pid, INTENT)] == ASKED ->
           if
           :: owner == C -> shares[_pid] = true; lease[AT(_pid, INTENT)] = HELD; Changed()
           :: else -> refused[AT(_pid, INTENT)] = true; lease[AT(_pid, INTENT)] = ABSENT
           fi
       }
    :: atomic { lease[AT(_pid, ALONE)] == ASKED ->
           if
           :: owner == C && !shares[0] && !shares[1] ->
              owner = _pid; lease[AT(_pid, ALONE)] = HELD; Changed()
           :: else -> refused[AT(_pid, ALONE)] = true; lease[AT(_pid, ALONE)] = ABSENT
           fi
       }
    /* another cluster's turn: newcomers here wait until nobody uses the shared lease */
    :: atomic { lease[AT(_pid, INTENT)] == HELD && wanted[AT(1 - _pid, ALONE)] > 0 &&
       FREE(AT(_pid, INTENT)) -> lease[AT(_pid, INTENT)] = LEAVING }
    od
}

/* When everybody has come to his end, the key gets free. */
active proctype Monitor() {
    running == 0;
    !shares[0] && !shares[1] && owner == C
}

init {
    atomic {
        run Transaction(0, INTENT); run Transaction(0, INTENT); run Transaction(0, ALONE);
        run Transaction(1, INTENT); run Transaction(1, ALONE)
    }
}
