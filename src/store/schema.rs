//! The tables as diesel knows them; `migrations/` makes them.

diesel::table! {
    access_tokens (token_hash) {
        token_hash -> Binary,
        mxid -> Text,
        created_at -> BigInt,
    }
}
diesel::table! {
    accepted_terms (mxid, url) {
        mxid -> Text,
        url -> Text,
        accepted_at -> BigInt,
    }
}
diesel::table! {
    sessions (sid) {
        sid -> Text,
        medium -> Text,
        address -> Text,
        client_secret_hash -> Binary,
        next_link -> Nullable<Text>,
        send_attempt -> Nullable<BigInt>,
        sending_until -> BigInt,
        wrong_attempts -> Integer,
        validated_at -> Nullable<BigInt>,
        modified_at -> BigInt,
    }
}
diesel::table! {
    session_tokens (sid, token_hash) {
        sid -> Text,
        token_hash -> Binary,
        created_at -> BigInt,
    }
}
diesel::table! {
    associations (medium, address) {
        medium -> Text,
        address -> Text,
        mxid -> Text,
        ts -> BigInt,
        not_before -> BigInt,
        not_after -> BigInt,
    }
}
diesel::table! {
    peppers (id) {
        id -> BigInt,
        pepper -> Text,
        created_at -> BigInt,
        state -> Integer,
        progress -> Nullable<Text>,
    }
}
diesel::table! {
    lookup_hashes (pepper_id, hash) {
        pepper_id -> BigInt,
        hash -> Binary,
        medium -> Text,
        address -> Text,
    }
}
diesel::table! {
    invites (token) {
        token -> Text,
        medium -> Text,
        address -> Text,
        room_id -> Text,
        sender -> Text,
        request -> Text,
        created_at -> BigInt,
        mxid -> Nullable<Text>,
        bound_at -> Nullable<BigInt>,
        due_at -> Nullable<BigInt>,
        attempts -> Integer,
        last_error -> Nullable<Text>,
        outcome -> Nullable<Text>,
        settled_at -> Nullable<BigInt>,
        looked_up_at -> BigInt,
    }
}
diesel::table! {
    ephemeral_keys (public_key) {
        public_key -> Binary,
        created_at -> BigInt,
    }
}
diesel::table! {
    sms_counts (day, country) {
        day -> BigInt,
        country -> Text,
        count -> BigInt,
    }
}
diesel::table! {
    allowances (key) {
        key -> Binary,
        full_at -> BigInt,
    }
}
diesel::table! {
    wrong_passwords (mxid) {
        mxid -> Text,
        in_a_row -> Integer,
        last_at -> BigInt,
        locked_until -> BigInt,
    }
}
diesel::table! {
    openid_tokens (token_hash) {
        token_hash -> Binary,
        peer -> Text,
        expires_at -> BigInt,
    }
}
diesel::table! {
    peer_terms (peer, url) {
        peer -> Text,
        url -> Text,
        accepted_at -> BigInt,
    }
}
diesel::table! {
    replication_log (id) {
        id -> BigInt,
        medium -> Text,
        address -> Text,
        mxid -> Nullable<Text>,
        ts -> BigInt,
        not_before -> Nullable<BigInt>,
        not_after -> Nullable<BigInt>,
    }
}
diesel::table! {
    replication_sequence (last) {
        last -> BigInt,
    }
}
diesel::table! {
    replication_cursors (peer) {
        peer -> Text,
        last_id -> BigInt,
        due_at -> BigInt,
        attempts -> Integer,
        last_error -> Nullable<Text>,
    }
}
diesel::table! {
    replication_refusals (peer, entry_id) {
        peer -> Text,
        entry_id -> BigInt,
        tries -> Integer,
        reason -> Text,
        set_aside_at -> Nullable<BigInt>,
    }
}
diesel::table! {
    peer_associations (origin, medium, address) {
        origin -> Text,
        medium -> Text,
        address -> Text,
        origin_id -> BigInt,
        mxid -> Nullable<Text>,
        ts -> BigInt,
        not_before -> Nullable<BigInt>,
        not_after -> Nullable<BigInt>,
        signed -> Nullable<Text>,
    }
}
diesel::table! {
    peer_hashes (pepper_id, hash, origin) {
        pepper_id -> BigInt,
        hash -> Binary,
        origin -> Text,
        medium -> Text,
        address -> Text,
    }
}
diesel::table! {
    quarantine (id) {
        id -> BigInt,
        origin -> Text,
        origin_id -> Text,
        received_at -> BigInt,
        reason -> Text,
        body -> Text,
    }
}
diesel::table! {
    directory_syncs (directory) {
        directory -> Text,
        settings -> Text,
        generation -> BigInt,
        last_generation -> BigInt,
        addresses -> BigInt,
        full_at -> Nullable<BigInt>,
        changes_at -> Nullable<BigInt>,
        run -> Nullable<Text>,
        run_began_at -> Nullable<BigInt>,
        run_cursor -> Nullable<Text>,
        attempts -> Integer,
        retry_at -> BigInt,
        last_error -> Nullable<Text>,
        node -> Text,
        node_until -> BigInt,
    }
}
diesel::table! {
    directory_associations (directory, generation, medium, address, mxid) {
        directory -> Text,
        generation -> BigInt,
        medium -> Text,
        address -> Text,
        mxid -> Text,
    }
}
diesel::table! {
    directory_hashes (pepper_id, hash, directory, generation, mxid) {
        pepper_id -> BigInt,
        hash -> Binary,
        directory -> Text,
        generation -> BigInt,
        medium -> Text,
        address -> Text,
        mxid -> Text,
    }
}
diesel::allow_tables_to_appear_in_same_query!(associations, lookup_hashes);
diesel::allow_tables_to_appear_in_same_query!(peer_associations, peer_hashes);
diesel::joinable!(replication_refusals -> replication_log (entry_id));
diesel::allow_tables_to_appear_in_same_query!(replication_log, replication_refusals);
diesel::allow_tables_to_appear_in_same_query!(sessions, session_tokens);
diesel::allow_tables_to_appear_in_same_query!(directory_hashes, directory_syncs);
diesel::allow_tables_to_appear_in_same_query!(directory_associations, directory_syncs, invites);
diesel::table! {
    lookup_changes (id) {
        id -> BigInt,
        kind -> Text,
        medium -> Text,
        address -> Text,
        changed_at -> BigInt,
        xid -> BigInt,
    }
}
