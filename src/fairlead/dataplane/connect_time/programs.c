// Balancing at connect time: what the kernel runs when a socket connects, and when it is asked for its peer.
//
// Promises: a TCP connection to a Service's address, made in a network namespace of this cluster, goes straight to one
// of its endpoints, in turn or at random; getpeername still tells the Service's address. Everything else, and whatever
// is not found in the maps, is left as it is: nftables carries it. No connection is ever refused here (always 1).
//
// The maps' layout is layout.py's; who reads an endpoint must find it whole, so a Backend's endpoints are never changed
// in place: a new block is written, then `head` is replaced by one store, and a block is used again only when no program
// that began before can still run. Built by scripts/build_connect_time.py, which names the maps; bpf-helpers(7).

#include <linux/bpf.h>

#define PROGRAM(name) __attribute__((section("cgroup/" #name), used)) int name
#define ALWAYS static __attribute__((always_inline)) inline
#define WORD(field) (*(volatile __u64 *)&(field))  // read or written once, here and whole
#define BIG32(n) __builtin_bswap32(n)

enum { STREAM = 1, TCP = 6, SOCKETS = 1 << 15 };

struct place {  // IPv4 addresses as ::ffff:a.b.c.d; port in network byte order
    __u32 address[4];
    __u16 port;
    __u8 protocol;
    __u8 zero;
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

extern const int namespaces, services, backends, endpoints, sockets;  // maps

static void *(*const look_up)(const void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
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

ALWAYS struct endpoint *choose(struct bpf_sock_addr *context, const struct place *service)
{
    if (context->type != STREAM || context->protocol != TCP || !is_ours(context))
        return 0;
    __u32 *number = look_up(&services, service);
    if (!number || is_bound_to_loopback(context))
        return 0;
    struct backend *backend = look_up(&backends, number);
    if (!backend)
        return 0;
    __u64 head = WORD(backend->head);
    __u32 count = head >> 32 & 0x7fffffff;
    if (!count)
        return 0;
    __u64 turn = head >> 63 ? random() : 0;
    __u64 before = __sync_fetch_and_add(&backend->turn, 1);
    __u32 slot = (__u32)head + (head >> 63 ? turn : before) % count;
    return look_up(&endpoints, &slot);
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
