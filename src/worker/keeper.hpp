// The lease keeper: the state machine of every lease, and the requests that want them.
//
// Runs in: the worker, single-threaded, never blocking. It takes work from shared memory (slots,
// entries whose interest fell to zero), from Redis (replies, invalidations, recalls) and from
// timers, and says what to send.
//
//   Absent ──request──► Acquiring ──granted──► Held ──interest 0, or a turn for others──► Releasing
//   ──ack──► Absent
//                          │ taken ──► Absent, the request waits   │ deadline, deleted, taken
//                          ▼                                       ▼
//      Unknown ◄── the lane died ── Releasing                     Lost ──interest 0, or a new
//      request──► …
//         └── the new lane is up (its barrier passed) ──► Releasing
//
// Rules that must not be broken (the tests break each to see that it matters)
//   * A fresh token per acquisition, in shared memory and in the journal before it is sent.
//   * Once a release for a token may be on a wire, that token is never acquired or extended again;
//     the next acquisition carries it as `prev`.
//   * While anything of a key is outstanding, the key stays on its lane, so that a release cannot
//     be overtaken; what was outstanding on a dead lane is Unknown until the barrier has passed.
//   * A grant that finds interest 0, or too little time left, is released, not given out.
//   * No release of a lease that is Held or Lost while unflushed > 0.
//   * A request holds nothing while it waits for somebody else: leases it had are let go.

#pragma once

#include <map>
#include <memory>
#include <queue>
#include <unordered_map>

#include "redis/lock_protocol.hpp"
#include "redis/node.hpp"
#include "shared/state.hpp"
#include "worker/breaker.hpp"
#include "worker/foreign_list.hpp"
#include "worker/journal.hpp"

namespace inventory_lock::worker {

struct View;  // keeper_state.hpp

class Keeper final {
  public:
    // `same_life`: the server lived on when the last worker died; its leases are taken over.
    Keeper(Journal &journal, std::vector<Orphan> orphans, bool same_life);
    ~Keeper();

    // Makes `options` the server for new locks (nullptr: none configured). Leases on the earlier
    // one are kept there until they end.
    void Use(std::unique_ptr<redis::NodeOptions> options, uint64 endpoint_hash, int64 now_us);

    // Resolves the host names of both servers again; may block.
    void ResolveAgain(int64 now_us);

    // Makes `options` the server that is asked for the locks of others (nullptr: none).
    void UseReplica(std::unique_ptr<redis::NodeOptions> options);

    // One turn: new work, due timers, nodes. Returns when the next turn is due (CLOCK_BOOTTIME).
    int64 Turn(int64 now_us);

    void Sockets(std::vector<redis::Socket> *sockets) const;
    uint64 socket_generation() const;
    void OnSocket(int fd, bool readable, bool writable, int64 now_us);

    // Is nothing of this cluster wanted or held any more?
    bool Quiet() const;
    // Is nothing sent and unanswered?
    bool Settled() const;
    // Before leaving: releases what nobody is interested in.
    void ReleaseIdle(int64 now_us);

    bool reachable() const;

  private:
    struct Session;
    struct Request;
    struct Part;
    struct Operation;
    struct Local;
    enum class Step : uint8;
    enum class Turn_ : uint8;

    // keeper_requests.cpp: what backends ask for.
    void TakeWork(int64 now_us);
    void TakeSlot(int32 index, int64 now_us);
    void Start(Request &request, int64 now_us);
    Step Prepare(int32 index, int64 now_us);
    void SendAcquire(Request &request, const std::vector<int32> &entries, int64 now_us);
    void StartSimple(Request &request, int64 now_us);
    bool Alive(const Request &request) const;
    void Answer(Request &request, shared::Outcome outcome, uint32 blocked = 0, uint64 fence = 0);
    void WaitUntil(Request &request, int64 when_us);
    void Poke(int32 index, int64 now_us);
    bool Stuck(int32 index) const;
    void FailAll(int64 now_us);
    void RetryDue(int64 now_us);

    // keeper_leases.cpp: what happens to a lease.
    void LookAt(int32 index, int64 now_us);
    void CheckDue(int64 now_us);
    void Check(int32 index, int64 now_us);
    void CheckHeld(int32 index, int64 now_us);
    bool BeginAcquiring(int32 index, const char *token);
    void UndoAcquiring(int32 index);
    enum class Unless : uint8;
    void Release(int32 index, int64 gap_ms, int64 now_us, Unless unless);
    void MarkLost(int32 index, shared::LostReason reason, int64 now_us);
    void MarkAbsent(int32 index, int64 now_us);
    void ExtendSoon(int32 index);
    // Something hints that a Held key may be gone: asks, or lets it go if nobody wants it.
    void Verify(int32 index, int64 now_us);
    // For shared leases that others may use: only if nobody does.
    Unless UnlessUsed(int32 index) const;
    void SendExtends(int64 now_us);
    void CheckAt(int32 index, int64 when_us);
    Turn_ WhoseTurn(int32 index, int64 now_us);
    void AskIdleTime(int32 index, int64 now_us);
    void NoteForeign(const std::string &key, int64 now_us);
    bool ForeignSeen(const std::string &key, int64 now_us) const;
    void NoteRedisTime(Session &session, uint64 time_us, int64 sent_us, int64 now_us);

    // keeper_releases.cpp: releases on their way.
    void ReleaseToken(int32 index, const char *token, int64 gap_ms, int64 now_us);
    void SendReleases(int64 now_us);
    void SendRelease(uint32 session_id, int lane, std::vector<Part> parts, redis::Command command,
                     int64 now_us);
    void OnReleased(Operation &operation, const redis::ReleaseAnswer &answer, int64 now_us);

    // keeper_linger.cpp: unused leases that are kept.
    int64 LingersUntilUs(int32 index, const View &view) const;
    int64 LookAgainUs(int32 index, int64 when_us, int64 now_us) const;
    void StopLingering(int32 index, int64 now_us);
    void OnLingerChanged(int64 now_us);
    void MakeRoom(int64 now_us);

    // keeper_intents.cpp: keys that transactions share.
    bool IsIntent(int32 index) const;
    int32 PartnerOf(int32 index) const;
    Step MakeWay(int32 index, int64 now_us);
    void PokeSharers(int32 index, int64 now_us);
    void OnKeyChanged(int32 index);
    void OnWanted(int32 index);
    void OnForced(std::string_view key, int64 now_us);

    // keeper_deadlocks.cpp: circles of waiting between clusters.
    void WatchWaits(int64 now_us);
    void PublishWait(int32 slot, int64 now_us);
    int32 WantedBehindGate(int32 gate, const std::vector<int32> &held, int64 now_us);
    void OnWaits(const Operation &operation, const redis::WaitsAnswer &answer);

    // keeper_replies.cpp: what Redis says.
    void OnLaneReady(Session &session, int lane);
    void OnLaneDown(Session &session, int lane, const redis::Trouble &trouble);
    void OnReply(Session &session, int lane, uint64 tag, redis::ReplyView reply);
    void OnInvalidated(std::string_view key);
    void OnAllInvalidated(Session &session);
    void OnRecall(std::string_view key);
    void OnPrimary(Session &session);
    void OnNoSentinel(Session &session, const redis::Trouble &trouble);
    void OnAcquired(Operation &operation, const redis::AcquireAnswer &answer, int64 now_us);
    void OnTaken(Operation &operation, const redis::AcquireAnswer &answer, int64 now_us);
    void OnExtended(Operation &operation, const redis::ExtendAnswer &answer, int64 now_us);
    void OnSimple(Operation &operation, redis::ReplyView reply, int64 now_us);
    void OnCleared(Request &request, redis::ReplyView reply, int64 now_us);
    void OnProbed(redis::ReplyView reply, int64 now_us);
    void Trouble(const redis::Trouble &trouble, int64 now_us);
    // What an answer says of the server that new locks use; one that was left says nothing of it.
    void NoteSuccess(const Operation &operation);
    void NoteTrouble(const Operation &operation, const redis::Trouble &trouble, int64 now_us);
    void Forget(Operation &operation, int64 now_us);
    bool Send(Session &session, int lane, Operation operation, int64 now_us);
    bool SendPlain(Session &session, int lane, Operation operation,
                   const std::vector<std::string_view> &argv, int64 now_us);
    uint64 Enlist(const Session &session, int lane, Operation operation, int64 now_us);
    bool SendEnlisted(Session &session, uint64 tag, const std::vector<std::string_view> &argv,
                      int64 now_us);
    void Report(Session &session);
    void FreeOrphans(Session &session, int lane, int64 now_us);
    void OnOrphanFreed(const Operation &operation, const redis::ReleaseAnswer &answer);

    // Is what is open on the entry's server over anyway: not configured any more, silent, TTL
    // passed?
    bool AbandonedServer(int32 index, int64 now_us) const;
    Session *SessionOf(uint32 id) const;
    shared::LeaseEntry *EntryAt(int32 index) const;
    int PickLane(const Session &session, int wanted, uint64 hash) const;
    void MakeToken(char *token) const;
    std::string KeyOf(int32 index) const;
    int32 FindKey(std::string_view key,
                  shared::LeaseMode mode = shared::LeaseMode::kExclusive) const;

    Journal &journal_;
    Breaker breaker_;
    ForeignList foreign_list_;
    std::vector<Orphan> orphans_;  // token "" = Redis has answered
    size_t orphans_under_way_ = 0;
    std::string token_prefix_;
    std::string instance_;
    std::vector<std::unique_ptr<Session>> sessions_;  // the last one is for new locks
    Session *active_ = nullptr;
    std::vector<Local> local_;                                 // by lease entry
    std::unordered_map<int32, Request> requests_;              // by slot
    std::unordered_map<uint64, Operation> operations_;         // by tag
    std::unordered_map<std::string, int64> foreign_;           // key → last seen
    std::unordered_map<int32, std::vector<uint64>> suspects_;  // slot → waits of a circle seen once
    int64 waits_due_us_ = INT64_MAX;
    std::vector<int32> to_extend_;
    std::map<std::pair<uint32, int>, std::vector<Part>> to_release_;  // by session and lane
    std::vector<int32> takeover_;  // Unknown and Held entries of an earlier worker
    bool slots_open_ = false;      // its requests are still to be taken over
    using Timer = std::pair<int64, int32>;
    using Timers = std::priority_queue<Timer, std::vector<Timer>, std::greater<Timer>>;
    Timers checks_;        // entries
    Timers retries_;       // slots
    int32 starting_ = -1;  // slot of the request being worked on: Poke() leaves it alone
    uint64 next_tag_ = 1;
    uint32 next_session_ = 1;
    uint64 closed_generations_ = 0;
    int64 now_us_ = 0;
    int64 room_made_us_ = 0;
    int linger_ms_ = 0;  // lease_linger as it was at the last turn
    int64 report_due_us_ = 0;
    uint64 commands_reported_ = 0;
};

}  // namespace inventory_lock::worker
