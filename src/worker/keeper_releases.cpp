// The keeper's releases on their way: collected, sent many in one call, acknowledged. What is
// released, and when, is decided in keeper_leases.cpp. See keeper.hpp. Runs in: the worker.
//
// A lease that is collected is Releasing already, and its token in the journal until Redis has
// answered; nothing of it is on a wire. Before any lease is asked for, and at the end of each turn,
// what is collected is sent: an acquisition always comes behind the release of the same key on its
// lane. All keys of a call belong to that lane. When it dies they are Unknown, each by itself.

#include "pg/injection.hpp"
#include "worker/keeper_state.hpp"

namespace inventory_lock::worker {

namespace {

constexpr size_t kReleasesPerCall = 256;
constexpr int64 kAgainUs = 500 * kUsPerMs;

}  // namespace

// One of the tokens of an entry that is Releasing: the earlier one is given first.
void Keeper::ReleaseToken(int32 index, const char *token, int64 gap_ms, int64 now_us) {
    IL_INJECT("worker-releasing");
    const Local &local = local_[static_cast<size_t>(index)];
    if (SessionOf(local.session) == nullptr) {
        if (AbandonedServer(index, now_us)) {
            MarkAbsent(index, now_us);
        } else {  // an earlier worker's; released once the barrier has passed
            Locked(EntryAt(index), [&] { EntryAt(index)->state = shared::LeaseState::kUnknown; });
            takeover_.push_back(index);
        }
        return;
    }
    Part part;
    part.entry = index;
    memcpy(part.token, token, sizeof(part.token));
    // What the grant stored and nothing has exceeded since need not be stored again, while it
    // lives.
    const uint64 fence = ViewOf(EntryAt(index)).next_fence - 1;
    const bool stored =
        fence <= local.stored_fence && now_us - local.asked_us < kFenceTtlMs * kUsPerMs / 2;
    if (stored && gap_ms == 0 && !local.release_alone && !IsIntent(index)) {
        std::vector<Part> &parts = to_release_[{local.session, local.lane}];
        parts.push_back(part);
        if (parts.size() == kReleasesPerCall) {
            SendReleases(now_us);
        }
        return;
    }
    SendReleases(now_us);
    redis::ReleaseKey key;
    key.key = {EntryAt(index)->key, EntryAt(index)->key_length};
    key.token = part.token;
    key.fence = stored || IsIntent(index) ? 0 : fence;
    key.gap_ms = gap_ms;
    SendRelease(local.session, local.lane, {part}, redis::MakeRelease(key, kFenceTtlMs), now_us);
}

void Keeper::SendReleases(int64 now_us) {
    for (auto &[lane, parts] : std::exchange(to_release_, {})) {
        std::vector<redis::ReleaseKey> keys(parts.size());
        for (size_t i = 0; i < parts.size(); i++) {
            const shared::LeaseEntry *entry = EntryAt(parts[i].entry);
            keys[i].key = {entry->key, entry->key_length};
            keys[i].token = parts[i].token;
        }
        SendRelease(lane.first, lane.second, std::move(parts), redis::MakeReleases(keys), now_us);
    }
}

void Keeper::SendRelease(uint32 session_id, int lane, std::vector<Part> parts,
                         redis::Command command, int64 now_us) {
    Session *session = SessionOf(session_id);
    Operation operation;
    operation.purpose = Purpose::kRelease;
    operation.parts = std::move(parts);
    operation.command = std::move(command);
    if (session != nullptr && session->Ready(lane)) {
        Send(*session, lane, std::move(operation), now_us);
    } else {
        Forget(operation, now_us);
    }
    IL_INJECT("worker-release-sent");
}

void Keeper::OnReleased(Operation &operation, const redis::ReleaseAnswer &answer, int64 now_us) {
    if (!answer.ok) {
        NoteTrouble(operation, answer.trouble, now_us);
        for (const Part &part : operation.parts) {
            local_[static_cast<size_t>(part.entry)].release_alone = true;  // one may be to blame
            CheckAt(part.entry, now_us + kAgainUs);
        }
        return;
    }
    NoteSuccess(operation);
    for (size_t i = 0; i < operation.parts.size(); i++) {
        const Part &part = operation.parts[i];
        shared::LeaseEntry *entry = EntryAt(part.entry);
        if (answer.keys[i] == redis::Ownership::kOurs) {
            shared::Count(shared::Total::kReleases);
        }
        bool done = false;
        Locked(entry, [&] {
            if (part.Has(entry->prev)) {
                entry->prev[0] = '\0';
            }
            done = entry->state == shared::LeaseState::kReleasing && part.Has(entry->token) &&
                   entry->prev[0] == '\0';
        });
        if (done) {
            MarkAbsent(part.entry, now_us);
        }
    }
}

}  // namespace inventory_lock::worker
