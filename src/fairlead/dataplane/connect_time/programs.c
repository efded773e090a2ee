// Balancing at connect time: what the kernel runs when a socket connects or sends a datagram to an address that it names
// with it, and when it is asked for its peer or a datagram's source.
//
// Promises: a TCP connection to a Service's address, made in a network namespace of this cluster, goes straight to one
// of its endpoints, in turn or at random; getpeername still tells the Service's address. A socket's datagrams to a
// Service go to one endpoint as long as that is the Service's, then to another; answers come from the Service's address.
// Connected UDP sockets are left to nftables: nobody could lead them elsewhere when their endpoint has gone. So is
// everything else, and whatever is not found in the maps. Nothing is ever refused here (always 1).
//
// The maps' layout is layout.py's; who reads an endpoint must find it whole, so a Backend's endpoints are never changed
// in place: a new block is written, then `head` is replaced by one store, and a block is used again only when no program
// that began before can still run. Built by scripts/build_connect_time.py, which names the maps; bpf-helpers(7).

#include <linux/bpf.h>

#define PROGRAM(name) __attribute__((section("cgroup/" #name), used)) int name
#define ALWAYS static __attribute__((always_inline)) inline
#define WORD(field) (*(volatile __u64 *)&(field))  // read or written once, here and whole
#define BIG32(n) __builtin_bswap32(n)

enum { STREAM = 1, DATAGRAM = 2, TCP = 6, UDP = 17, SOCKETS = 1 << 15, MOST_COMPARED = 64 };

struct place {  // IPv4 addresses as ::ffff:a.b.c.d; port in network byte order
    __u32 address[4];
    __u16 port;
    __u8 protocol;
    __u8 answers;  // 0 but in flows
};

struct backend {
    __u64 head;  // first endpoint | count << 32 | random << 63
    __u64 turn;
};

struct endpoint {
    __u32 address[4];
    __u16 port;
    __u16 zero;
    __u32 unused;
};

struct asked {  // what a socket asked for, and what it got
    __u64 cookie;
    struct place service;
    struct place endpoint;
};

struct flow_key {  // of a socket's datagrams: to a Service, and back from an endpoint
    __u64 cookie;
    struct place place;
    __u32 zero;
};

struct flow {
    __u64 head;  // of the Backend when the endpoint was last seen there
    struct place other;
    __u32 zero;
};

extern const int namespaces, services, backends, endpoints, sockets, flows;  // maps

static void *(*const look_up)(const void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*const update)(const void *map, const void *key, const void *value, __u64 flags) =
    (void *)BPF_FUNC_map_update_elem;
static __u32 (*const random)(void) = (void *)BPF_FUNC_get_prandom_u32;
static __u64 (*const socket_cookie)(void *context) = (void *)BPF_FUNC_get_socket_cookie;
static __u64 (*const namespace_cookie)(void *context) = (void *)BPF_FUNC_get_netns_cookie;

ALWAYS int is_ours(struct bpf_sock_addr *context)
{
    __u64 cookie = namespace_cookie(context);
    return look_up(&namespaces, &cookie) != 0;
}

// A client that is bound to a loopback address can reach a pod only by translation.
ALWAYS int is_bound_to_loopback(struct bpf_sock_addr *context)
{
    struct bpf_sock *socket = context->sk;
    if (!socket)
        return 0;
    if ((socket->src_ip4 & BIG32(0xff000000)) == BIG32(0x7f000000))
        return 1;
    return socket->src_ip6[0] == 0 && socket->src_ip6[1] == 0 && socket->src_ip6[2] == 0 &&
           socket->src_ip6[3] == BIG32(1);
}

ALWAYS struct backend *backend_of(struct bpf_sock_addr *context, const struct place *service)
{
    if (!is_ours(context))
        return 0;
    __u32 *number = look_up(&services, service);
    if (!number || is_bound_to_loopback(context))
        return 0;
    return look_up(&backends, number);
}

ALWAYS __u32 count_of(__u64 head)
{
    return head >> 32 & 0x7fffffff;
}

ALWAYS struct endpoint *next(struct backend *backend, __u64 head)
{
    __u32 count = count_of(head);
    if (!count)
        return 0;
    __u64 turn = __sync_fetch_and_add(&backend->turn, 1);
    __u32 slot = (__u32)head + (head >> 63 ? random() : turn) % count;
    return look_up(&endpoints, &slot);
}

ALWAYS struct endpoint *choose(struct bpf_sock_addr *context, const struct place *service)
{
    if (context->type != STREAM || context->protocol != TCP)
        return 0;
    struct backend *backend = backend_of(context, service);
    return backend ? next(backend, WORD(backend->head)) : 0;
}

// One of the last SOCKETS: a newer one takes the place of that which asked so many before it (a hash map that forgets
// costs ten times all the rest). Who finds another's cookie there, or half of another's words, tells the real peer.
ALWAYS struct asked *place_of(__u64 cookie)
{
    __u32 slot = cookie & (SOCKETS - 1);
    return look_up(&sockets, &slot);
}

ALWAYS void remember(struct bpf_sock_addr *context, const struct place *service, const struct endpoint *got)
{
    __u64 cookie = socket_cookie(context);
    struct asked *asked = place_of(cookie);
    if (!asked)
        return;
    WORD(asked->cookie) = 0;
    asked->service = *service;
    __builtin_memcpy(asked->endpoint.address, got->address, sizeof(got->address));
    asked->endpoint.port = got->port;
    WORD(asked->cookie) = cookie;
}

// What the socket asked for, if its peer is what it then got: it may have connected again since.
ALWAYS struct asked *asked_for(struct bpf_sock_addr *context)
{
    __u64 cookie = socket_cookie(context);
    struct asked *asked = place_of(cookie);
    return asked && asked->cookie == cookie && asked->endpoint.port == (__u16)context->user_port ? asked : 0;
}

ALWAYS int is_at(const struct endpoint *endpoint, const struct place *place)
{
    return endpoint->port == place->port && endpoint->address[3] == place->address[3] &&
           endpoint->address[2] == place->address[2] && endpoint->address[1] == place->address[1] &&
           endpoint->address[0] == place->address[0];
}

// Whether an endpoint is still one of the Backend's. Of more than MOST_COMPARED it is not asked: it is chosen anew.
ALWAYS int is_among(__u64 head, const struct place *place)
{
    for (__u32 index = 0; index < MOST_COMPARED && index < count_of(head); index++) {
        __u32 slot = (__u32)head + index;
        struct endpoint *one = look_up(&endpoints, &slot);
        if (one && is_at(one, place))
            return 1;
    }
    return 0;
}

// Where this socket's datagrams to the Service go now. Both ways are written anew when one was forgotten.
ALWAYS int lead(struct bpf_sock_addr *context, const struct place *service, struct place *to)
{
    struct bpf_sock *socket = context->sk;
    if (context->type != DATAGRAM || context->protocol != UDP || !socket || socket->dst_port)
        return 0;
    struct backend *backend = backend_of(context, service);
    if (!backend)
        return 0;
    __u64 head = WORD(backend->head);
    struct flow_key there = { .cookie = socket_cookie(context), .place = *service };
    struct flow_key back = { .cookie = there.cookie };
    struct flow *known = look_up(&flows, &there);
    if (known) {
        back.place = known->other;
        if (WORD(known->head) == head || is_among(head, &back.place))
            WORD(known->head) = head;
        else
            known = 0;
    }
    if (!known) {
        struct endpoint *chosen = next(backend, head);
        if (!chosen)
            return 0;
        __builtin_memcpy(back.place.address, chosen->address, sizeof(chosen->address));
        back.place.port = chosen->port;
        back.place.protocol = UDP;
        back.place.answers = 0;
        struct flow flow = { .head = head, .other = back.place };
        update(&flows, &there, &flow, BPF_ANY);
    }
    *to = back.place;
    back.place.answers = 1;
    struct flow *answer = look_up(&flows, &back);
    if (!answer || answer->other.port != service->port || answer->other.address[3] != service->address[3]) {
        struct flow flow = { .other = *service };
        update(&flows, &back, &flow, BPF_ANY);
    }
    return 1;
}

ALWAYS struct flow *answer_of(struct bpf_sock_addr *context, struct flow_key *key)
{
    key->cookie = socket_cookie(context);
    key->place.port = context->user_port;
    key->place.protocol = UDP;
    key->place.answers = 1;
    return look_up(&flows, key);
}

ALWAYS void read_ipv6(struct bpf_sock_addr *context, struct place *place)
{
    place->address[0] = context->user_ip6[0];
    place->address[1] = context->user_ip6[1];
    place->address[2] = context->user_ip6[2];
    place->address[3] = context->user_ip6[3];
}

ALWAYS void write_ipv6(struct bpf_sock_addr *context, const __u32 address[4])
{
    context->user_ip6[0] = address[0];
    context->user_ip6[1] = address[1];
    context->user_ip6[2] = address[2];
    context->user_ip6[3] = address[3];
}

PROGRAM(connect4)(struct bpf_sock_addr *context)
{
    struct place service = { .address = { 0, 0, BIG32(0xffff), context->user_ip4 }, .port = context->user_port };
    service.protocol = TCP;
    struct endpoint *to = choose(context, &service);
    if (to) {
        context->user_ip4 = to->address[3];
        context->user_port = to->port;
        remember(context, &service, to);
    }
    return 1;
}

PROGRAM(connect6)(struct bpf_sock_addr *context)
{
    struct place service = { .port = context->user_port, .protocol = TCP };
    read_ipv6(context, &service);
    struct endpoint *to = choose(context, &service);
    if (to) {
        write_ipv6(context, to->address);
        context->user_port = to->port;
        remember(context, &service, to);
    }
    return 1;
}

PROGRAM(getpeername4)(struct bpf_sock_addr *context)
{
    struct asked *asked = asked_for(context);
    if (asked && asked->endpoint.address[3] == context->user_ip4) {
        context->user_ip4 = asked->service.address[3];
        context->user_port = asked->service.port;
    }
    return 1;
}

PROGRAM(getpeername6)(struct bpf_sock_addr *context)
{
    struct asked *asked = asked_for(context);
    if (asked && asked->endpoint.address[0] == context->user_ip6[0] &&
        asked->endpoint.address[1] == context->user_ip6[1] && asked->endpoint.address[2] == context->user_ip6[2] &&
        asked->endpoint.address[3] == context->user_ip6[3]) {
        write_ipv6(context, asked->service.address);
        context->user_port = asked->service.port;
    }
    return 1;
}

PROGRAM(sendmsg4)(struct bpf_sock_addr *context)
{
    struct place to = {};
    struct place service = { .address = { 0, 0, BIG32(0xffff), context->user_ip4 }, .port = context->user_port };
    service.protocol = UDP;
    if (lead(context, &service, &to)) {
        context->user_ip4 = to.address[3];
        context->user_port = to.port;
    }
    return 1;
}

PROGRAM(sendmsg6)(struct bpf_sock_addr *context)
{
    struct place to = {};
    struct place service = { .port = context->user_port, .protocol = UDP };
    read_ipv6(context, &service);
    if (lead(context, &service, &to)) {
        write_ipv6(context, to.address);
        context->user_port = to.port;
    }
    return 1;
}

PROGRAM(recvmsg4)(struct bpf_sock_addr *context)
{
    struct flow_key key = { .place = { .address = { 0, 0, BIG32(0xffff), context->user_ip4 } } };
    struct flow *flow = answer_of(context, &key);
    if (flow) {
        context->user_ip4 = flow->other.address[3];
        context->user_port = flow->other.port;
    }
    return 1;
}

PROGRAM(recvmsg6)(struct bpf_sock_addr *context)
{
    struct flow_key key = {};
    read_ipv6(context, &key.place);
    struct flow *flow = answer_of(context, &key);
    if (flow) {
        write_ipv6(context, flow->other.address);
        context->user_port = flow->other.port;
    }
    return 1;
}
